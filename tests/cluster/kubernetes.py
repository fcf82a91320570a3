"""A cluster that runs, as a test asks it: through kubectl, which is part of the one program."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.cluster import build
from infra.cluster.home import Home
from infra.cluster.lifecycle import Tier
from tests.brokers import until

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Cluster:
    """What the fixture `cluster` gives."""

    home: Home
    tier: Tier

    @property
    def kubeconfig(self) -> str:
        """The administrator's."""
        return str(self.home.kubeconfig())

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """Run kubectl and return what it prints; with `check` a failure fails the test."""
        command = [build.programs() / "kube", "kubectl", "--kubeconfig", self.kubeconfig, *words]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if done.returncode == 0 else done.stderr

    def helm(self, *words: str) -> str:
        """Run Helm and return what it prints."""
        command = [build.programs() / "helm", "--kubeconfig", self.kubeconfig, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create(self, *objects: dict[str, Any]) -> None:
        """Create objects."""
        self.kubectl(
            "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        """Return an object; empty if there is none."""
        text = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else {}

    def wait_for_pod(
        self, name: str, namespace: str, is_right: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Wait until a pod's status is right, and return it."""
        seen: list[dict[str, Any]] = [{}]

        def looks() -> bool:
            seen.append(self.get("pod", name, namespace).get("status", {}))
            return is_right(seen[-1])

        try:
            until(looks, f"pod {name}", within_s=90)
        except BaseException as failure:
            events = self.kubectl("get", "events", "-n", namespace, check=False)
            raise AssertionError(f"{seen[-1]}\n{events}") from failure
        return seen[-1]


def is_ready(status: dict[str, Any]) -> bool:
    """Whether a pod's status says that it can be talked to."""
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))
