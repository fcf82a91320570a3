"""Every profile of the chart on a real API server: its schema, its admission, its controllers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.brokers import until
from tests.cluster.kubernetes import Cluster
from tests.helm.conftest import PROFILES, helm, rendered
from tests.helm.test_chart import FOREIGN

__all__ = ["helm"]
pytestmark = pytest.mark.cluster("api")
_WORKLOADS = {"Deployment", "StatefulSet"}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_object_is_accepted_and_every_pod_of_ours_is_restricted(
    cluster: Cluster, namespace: str, helm: str, profile: Path
) -> None:
    """The service's namespace enforces `restricted`, so a pod that is not would never be made."""
    with _of_sandboxes(cluster, namespace, profile) as more:
        things = [
            thing for thing in rendered(helm, profile, "-n", namespace, *more) if thing["kind"] not in FOREIGN
        ]
        _create(cluster, [thing for thing in things if thing["kind"] == "Namespace"])
        _create(cluster, [thing for thing in things if thing["kind"] != "Namespace"])
        wanted = {
            _component(thing): thing["spec"].get("replicas", 1)
            for thing in things
            if thing["kind"] in _WORKLOADS
        }
        assert {"edge", "handlers", "pool"} <= wanted.keys()
        until(lambda: _pods(cluster, namespace) >= set(_numbered(wanted)), f"the pods of {wanted}", 60.0)


@contextmanager
def _of_sandboxes(cluster: Cluster, namespace: str, profile: Path) -> Iterator[tuple[str, ...]]:
    """Give the sandboxes a namespace of this test's own, where the profile makes one."""
    if not yaml.safe_load(profile.read_text()).get("sandboxes", {}).get("createNamespace"):
        yield ()
        return
    try:
        yield ("--set", f"sandboxes.namespace={namespace}-sandboxes")
    finally:
        cluster.kubectl("delete", "namespace", f"{namespace}-sandboxes", "--wait=false", check=False)


def _create(cluster: Cluster, things: list[dict[str, Any]]) -> None:
    if things:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": things})
        cluster.kubectl("create", "--validate=strict", "-f", "-", stdin=text)


def _component(workload: dict[str, Any]) -> str:
    return str(workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])


def _numbered(wanted: dict[str, int]) -> Iterator[tuple[str, int]]:
    for component, count in wanted.items():
        for number in range(count):
            yield component, number


def _pods(cluster: Cluster, namespace: str) -> set[tuple[str, int]]:
    """Return the components of the pods that were admitted, each pod with its number."""
    template = r"jsonpath={range .items[*]}{.metadata.labels.app\.kubernetes\.io/component}{'\n'}{end}"
    found: list[str] = cluster.kubectl("get", "pods", "-n", namespace, "-o", template).split()
    return {(component, found[:place].count(component)) for place, component in enumerate(found)}
