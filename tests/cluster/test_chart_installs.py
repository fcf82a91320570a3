"""The chart, installed: edge, handlers, pool and Redis as pods, which run code in pods."""

import json
import subprocess
import urllib.request
from typing import Any

import pytest

from infra.cluster import build
from tests.brokers import until
from tests.cluster.conftest import HaveImages
from tests.cluster.images import image_name
from tests.cluster.kubernetes import Cluster
from tests.cluster.service_image import REPOSITORY, TAG, load_service
from tests.helm.conftest import CHART, PROFILES

pytestmark = [pytest.mark.cluster("pods"), pytest.mark.timeout(500)]
TRY = next(path for path in PROFILES if path.stem == "try")
KEY = "a-key-of-this-test-alone"


def test_the_chart_installs_and_serves(cluster: Cluster, namespace: str, have_images: HaveImages) -> None:
    """This cluster has no name server, so Redis is told by its address once that is known."""
    have_images("sidecar", "py")
    load_service()
    cluster.kubectl(
        "create", "secret", "generic", "millrace", f"--from-literal=api-key={KEY}", "-n", namespace
    )
    values = {
        "image.repository": REPOSITORY,
        "image.tag": TAG,
        "image.pullPolicy": "Never",
        "redis.image": f"{REPOSITORY}:{TAG}",
        "settings.K8S_SIDECAR_IMAGE": image_name("sidecar"),
        "settings.LANG_IMAGE_PY": image_name("py"),
        "settings.K8S_IMAGE_PULL_POLICY": "Never",
        "settings.POD_POOL_PY": "1",
    }
    _helm(cluster, namespace, "install", values)
    address = _address(cluster, "rel-redis", namespace)
    _helm(
        cluster,
        namespace,
        "upgrade",
        values | {"settings.REDIS_HOST": address},
        "--wait",
        "--timeout",
        "300s",
    )
    edge = _address(cluster, "rel", namespace)
    answer: dict[str, Any] = {}

    def answers() -> bool:
        answer.update(_exec(edge))
        return answer.get("stdout") == "42\n"

    try:
        until(answers, "an answer", 120.0)
    except BaseException as failure:
        logs = cluster.kubectl(
            "logs", "-n", namespace, "-l", "app.kubernetes.io/name=millrace", "--prefix", check=False
        )
        raise AssertionError(f"{answer}\n{logs}") from failure
    command = [
        str(build.programs() / "helm"),
        "--kubeconfig",
        cluster.kubeconfig,
        "uninstall",
        "rel",
        "-n",
        namespace,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    until(lambda: not _sandboxes(cluster, namespace), "the sandboxes to go with the release", 60.0)


def _helm(cluster: Cluster, namespace: str, verb: str, values: dict[str, str], *more: str) -> None:
    sets = [
        word
        for name, value in values.items()
        for word in ("--set-string" if "TAG" in name or name == "image.tag" else "--set", f"{name}={value}")
    ]
    command = [str(build.programs() / "helm"), "--kubeconfig", cluster.kubeconfig, verb, "rel", str(CHART)]
    done = subprocess.run(
        [*command, "-n", namespace, "-f", str(TRY), *sets, *more],
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    pods = "" if done.returncode == 0 else cluster.kubectl("get", "pods,events", "-n", namespace, check=False)
    logs = (
        ""
        if done.returncode == 0
        else cluster.kubectl(
            "logs", "-n", namespace, "-l", "app.kubernetes.io/name=millrace", "--prefix", check=False
        )
    )
    assert done.returncode == 0, f"{done.stderr}\n{pods}\n{logs}"


def _address(cluster: Cluster, name: str, namespace: str) -> str:
    return str(cluster.get("service", name, namespace)["spec"]["clusterIP"])


def _exec(address: str) -> dict[str, Any]:
    body = json.dumps({"lang": "py", "code": "print(6 * 7)"}).encode()
    headers = {"content-type": "application/json", "x-api-key": KEY}
    request = urllib.request.Request(f"http://{address}/exec", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except OSError as error:
        return {"error": str(error)}


def _sandboxes(cluster: Cluster, namespace: str) -> str:
    return cluster.kubectl(
        "get", "pods", "-n", namespace, "-o", "name", "-l", "app.kubernetes.io/name=millrace-sandbox"
    )
