"""The chart, installed as documented: all its processes and brokers as pods, which run code in pods."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.cluster import build
from tests.brokers import until
from tests.cluster.conftest import HaveImages
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

    def exec(self, code: str) -> dict[str, Any]:
        """Run Python through the edge."""
        address = self.cluster.get("service", "rel", self.namespace)["spec"]["clusterIP"]
        body = json.dumps({"lang": "py", "code": code}).encode()
        headers = {"content-type": "application/json", "x-api-key": KEY}
        request = urllib.request.Request(f"http://{address}/exec", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except OSError as error:
            return {"error": str(error)}

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


@pytest.fixture(params=["try"])
def release(
    cluster: Cluster, namespace: str, have_images: HaveImages, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Release]:
    """One that is up."""
    have_images("sidecar", "py")
    load_service()
    cluster.kubectl(
        "create", "secret", "generic", "millrace", f"--from-literal=api-key={KEY}", "-n", namespace
    )
    profile = next(path for path in PROFILES if path.stem == request.param)
    begun = Release(cluster, namespace, profile, tmp_path)
    begun.bring_up("install")
    yield begun


def test_it_passes_its_own_test_and_leaves_nothing(release: Release) -> None:
    said = release.helm("test", "--timeout", "200s")
    assert "Phase:          Succeeded" in said, f"{said}\n{release.story()}"

    assert release.exec("print(6 * 7)").get("stdout") == "42\n", release.story()

    release.helm("uninstall")
    until(lambda: not release.sandboxes(), "the sandboxes to go with the release", 60.0)
