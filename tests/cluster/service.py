"""The whole service on a real cluster: edge, handlers and pool as processes, the chart's accounts, real pods.

Each has only the permissions that the chart gives it.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import redis

from tests.brokers import free_port, until
from tests.cluster.conftest import new_namespace
from tests.cluster.images import image_name
from tests.cluster.kubernetes import Cluster
from tests.cluster.test_permissions import install_accounts, kubeconfig_of
from tests.helm.conftest import ROOT

KEY = "a-key-of-this-test-alone"
PATIENCE_S = 120.0


class Service:
    """The processes of one Millrace, by their components, with a number where there are several."""

    program = "millrace"
    """The module that is run."""
    NAMES: tuple[str, ...] = ("pool", "handlers", "edge")
    """What `begin` starts."""

    def __init__(
        self, cluster: Cluster, namespace: str, redis_url: str, folder: Path, **settings: str
    ) -> None:
        self.cluster, self.namespace, self._folder = cluster, namespace, folder
        self._settings = {"REDIS_URL": redis_url, "REDIS_KEY_PREFIX": f"{namespace}:", **settings}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._kubeconfigs: dict[str, Path] = {}
        self.port = free_port()

    def begin(self) -> None:
        """Start all of it."""
        for name in self.NAMES:
            self.start(name)

    def start(self, name: str) -> None:
        """Start one by the command that the chart's image runs."""
        component = name.partition("-")[0]
        account = component if component != "edge" else "handlers"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "KUBECONFIG": str(self._kubeconfig(account)),
            "MILLRACE_ENV_FILE": os.devnull,
            "MILLRACE_SANDBOX": "kubernetes",
            "MILLRACE_INSTANCE": "rel",
            "MILLRACE_LEASE_SECONDS": "5",
            "K8S_NAMESPACE": self.namespace,
            "K8S_SIDECAR_IMAGE": image_name("sidecar"),
            "K8S_IMAGE_PULL_POLICY": "Never",
            "LANG_IMAGE_PY": image_name("py"),
            "POD_POOL_PY": "2",
            "POD_POOL_JS": "0",
            "API_HOST": "127.0.0.1",
            "API_PORT": str(self.port),
            "API_KEY": KEY,
            **self._settings,
        }
        with (self._folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", self.program, component]
            self.running[name] = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _kubeconfig(self, account: str) -> Path:
        """Return an account's, made at its first start: the API may be dead at the next."""
        if account not in self._kubeconfigs:
            made = kubeconfig_of(self.cluster, self.namespace, account, self._folder)
            self._kubeconfigs[account] = made
        return self._kubeconfigs[account]

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer, whatever its status; empty while nobody answers."""
        data = json.dumps(body).encode() if body is not None else None
        request = self._request(path, data, **{"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return {"http": answer.status, **json.loads(answer.read() or b"{}")}
        except urllib.error.HTTPError as error:
            return {"http": error.code, **json.load(error)}
        except OSError:
            return {}

    def events(self, execution: str) -> list[dict[str, Any]]:
        """Return the log of an execution that has ended."""
        request = self._request(f"/executions/{execution}/events", accept="application/x-ndjson")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return [json.loads(line) for line in answer]

    def _request(self, path: str, data: bytes | None = None, **headers: str) -> urllib.request.Request:
        return urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"x-api-key": KEY, **headers}
        )

    def pods(self) -> set[str]:
        return set(self.cluster.kubectl("get", "pods", "-n", self.namespace, "-o", "name").split())

    def ready(self) -> int:
        handlers = self.ask("/health/detailed").get("handlers", [])
        return sum(
            each["warm"] for handler in handlers for each in handler["languages"] if each["code"] == "py"
        )

    def submit(self, code: str, language: str = "py", **more: Any) -> str:
        """Have code run; returns the execution's id."""
        name = uuid.uuid4().hex
        answer = self.ask("/executions", {"id": name, "language": language, "code": code, **more})
        assert answer.get("http") == 202, answer
        return name

    def view(self, execution: str) -> dict[str, Any]:
        return self.ask(f"/executions/{execution}")

    def until_finished(self, execution: str) -> dict[str, Any]:
        until(lambda: self.view(execution).get("status") == "finished", "an outcome", PATIENCE_S)
        return self.view(execution)

    def until_full(self, count: int) -> None:
        """Wait until so many pods wait, and there is no other pod and no Job."""

        def is_full() -> bool:
            waiting = self.waiting()
            all_wait = {f"pod/{name}" for name in waiting} == self.pods() and not self.jobs()
            return all_wait and len(waiting) == count

        until(is_full, f"{count} pods and nothing else", PATIENCE_S)

    def pool_notes(self) -> str:
        """Return what the pool's own processes say is wrong."""
        pools = self.ask("/health/detailed").get("pools", [])
        return "\n".join(note for pool in pools for note in pool["notes"])

    def jobs(self) -> str:
        return self.cluster.kubectl("get", "jobs", "-n", self.namespace, "-o", "name")

    def pod_of(self, before: set[str]) -> str:
        """Return the name of the one pod of `before` that does not wait any more."""
        (taken,) = before - self.waiting()
        return taken

    def waiting(self) -> set[str]:
        """Return the pods that the register has as ready."""
        with redis.Redis.from_url(self._settings["REDIS_URL"], protocol=2) as client:
            states = client.hgetall(f"{self._settings['REDIS_KEY_PREFIX']}{{millrace:pods:rel}}:states")
        return {name.decode() for name, state in states.items() if state == b"ready"}

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self._folder.glob("*.log"))


S = TypeVar("S", bound=Service)


@contextmanager
def serving(
    kind: type[S], cluster: Cluster, helm: str, redis_url: str, folder: Path, **settings: str
) -> Iterator[S]:
    """Give a service that has begun, in a namespace of its own, with the chart's accounts."""
    with new_namespace(cluster) as namespace:
        install_accounts(cluster, namespace, helm)
        made = kind(cluster, namespace, redis_url, folder, **settings)
        try:
            made.begin()
            yield made
        finally:
            made.close()
