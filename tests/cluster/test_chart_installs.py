"""The chart, installed as documented: all its processes and brokers as pods, which run code in pods."""

import functools
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.cluster import build
from tests.brokers import until
from tests.cluster.conftest import HaveImages, new_namespace
from tests.cluster.images import image_name
from tests.cluster.kubernetes import Cluster
from tests.cluster.service_image import REPOSITORY, TAG, load_service
from tests.helm.conftest import CHART, PROFILES, run

pytestmark = [pytest.mark.cluster("pods"), pytest.mark.timeout(500)]
KEY = "a-key-of-this-test-alone"
VALUES = {
    "image": {"repository": REPOSITORY, "tag": TAG, "pullPolicy": "Never"},
    "redis": {"image": f"{REPOSITORY}:{TAG}", "storage": ""},
    "nats": {"image": f"{REPOSITORY}:{TAG}", "storage": ""},
    "edge": {"replicas": 1},
    "handlers": {"replicas": 1},
    "pool": {"replicas": 1},
}
SETTINGS = {
    "K8S_SIDECAR_IMAGE": image_name("sidecar"),
    "LANG_IMAGE_PY": image_name("py"),
    "K8S_IMAGE_PULL_POLICY": "Never",
    "POD_POOL_PY": 1,
    "MAX_EXECUTION_TIME": 240,  # what runs is to outlast an upgrade
}
"""For this cluster: no registry, no disks, two processors. The rest is the profile's."""


@dataclass
class Release:
    """One installation of a profile, `rel`, in a namespace of its own."""

    cluster: Cluster
    namespace: str
    profile: Path
    folder: Path
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))

    def helm(self, verb: str, *more: str) -> str:
        """Run Helm on it; what pods and events say is told with a failure."""
        words = ["--kubeconfig", self.cluster.kubeconfig, verb, "rel", *more, "-n", self.namespace]
        done = run(str(build.programs() / "helm"), *words, within_s=240)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.story()}"
        return done.stdout

    def bring_up(self, verb: str) -> None:
        """Install or upgrade it, and wait until every process is ready."""
        values = self.folder / "values.json"
        sandboxes = {"namespace": self.namespace, "createNamespace": False}
        values.write_text(json.dumps({**VALUES, "settings": self.settings, "sandboxes": sandboxes}))
        files = ["-f", str(self.profile), "-f", str(values)]
        self.helm(verb, str(CHART), *files, "--wait", "--timeout", "200s")

    @functools.cached_property
    def address(self) -> str:
        """Where the edge's Service answers."""
        return str(self.cluster.get("service", "rel", self.namespace)["spec"]["clusterIP"])

    def upgrade(self, **settings: Any) -> None:
        """Upgrade to other settings."""
        self.settings |= settings
        self.bring_up("upgrade")

    def exec(self, code: str) -> dict[str, Any]:
        """Run Python through the edge."""
        return self.ask("/exec", {"lang": "py", "code": code})

    def ask(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """Return the edge's answer, or what went wrong with asking it."""
        data = json.dumps(body).encode() if body is not None else None
        headers |= {"content-type": "application/json", "x-api-key": KEY}
        request = urllib.request.Request(f"http://{self.address}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except OSError as error:
            return {"error": str(error)}

    def run(self, name: str, **command: Any) -> dict[str, Any]:
        """Have an execution end, as a client does that asks again by its id where no edge answers."""
        seen: list[dict[str, Any]] = []

        def has_ended() -> bool:
            seen.append(self.ask("/executions", {"id": name, "language": "py", **command}, prefer="wait=60"))
            return seen[-1].get("status") == "finished"

        until(has_ended, f"{name} to end: {seen[-1:]}", 150.0)
        return seen[-1]

    def answer_when_left(self, name: str) -> None:
        """Give a line to an execution once the handlers that may have it were told to stop."""
        label = "app.kubernetes.io/component=handlers"
        words = ("get", "pods", "-n", self.namespace, "-l", label, "-o")
        told = "jsonpath={.items[*].metadata.deletionTimestamp}"

        def is_told() -> bool:
            time.sleep(0.5)  # asking is work for both processors
            return bool(self.cluster.kubectl(*words, told))

        until(is_told, "a handler to be told to stop", 240.0)
        line = {"data": "a line\n"}
        until(lambda: "error" not in self.ask(f"/executions/{name}/input", line), "the line to go", 20.0)

    def story(self) -> str:
        """Return what can be said of how it is."""
        words = ("-n", self.namespace)
        seen = self.cluster.kubectl("get", "pods,events", *words, check=False)
        ours = ("-l", "app.kubernetes.io/name=millrace", "--prefix", "--tail=60")
        return seen + self.cluster.kubectl("logs", *words, *ours, check=False)

    def sandboxes(self) -> str:
        """Return the names of its sandboxes."""
        ours = ("-l", "app.kubernetes.io/name=millrace-sandbox", "-o", "name")
        return self.cluster.kubectl("get", "pods", "-n", self.namespace, *ours)


@pytest.fixture(scope="module", params=["try", "nats"])
def release(
    cluster: Cluster,
    have_images: HaveImages,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Release]:
    """One that is up. The last test takes it away."""
    have_images("sidecar", "py")
    load_service()
    with new_namespace(cluster) as namespace:
        secret = ("secret", "generic", "millrace", f"--from-literal=api-key={KEY}")
        cluster.kubectl("create", *secret, "-n", namespace)
        profile = next(path for path in PROFILES if path.stem == request.param)
        begun = Release(cluster, namespace, profile, tmp_path_factory.mktemp("release"))
        begun.bring_up("install")
        yield begun


def test_an_upgrade_loses_no_work(release: Release) -> None:
    """All processes and the sandboxes' template change under one execution that runs and others that come."""
    waits = {"code": "print('on', flush=True)\nprint('got', input())", "retry": "never"}
    release.ask("/executions", {"id": "long", "language": "py", **waits})
    until(lambda: release.ask("/executions/long").get("stdout") == "on\n", "it to run", 120.0)

    with ThreadPoolExecutor(2) as beside:
        answered = beside.submit(release.answer_when_left, "long")
        upgraded = beside.submit(release.upgrade, LOG_LEVEL="DEBUG", K8S_CPU_LIMIT="900m")
        views = []
        while not upgraded.done():
            views.append(release.run(f"short-{len(views)}", code="print(6 * 7)", retry="never"))
        upgraded.result()
        answered.result()

    views.append(release.run("long", **waits))
    said = Counter((view["outcome"], view["stdout"], view["attempt"]) for view in views)
    assert said == {("exited", "42\n", 1): len(views) - 1, ("exited", "on\ngot a line\n", 1): 1}, said


def test_it_passes_its_own_test_and_leaves_nothing(release: Release) -> None:
    said = release.helm("test", "--timeout", "200s")
    assert "Phase:          Succeeded" in said, f"{said}\n{release.story()}"

    assert release.exec("print(6 * 7)").get("stdout") == "42\n", release.story()

    release.helm("uninstall")
    until(lambda: not release.sandboxes(), "the sandboxes to go with the release", 60.0)
