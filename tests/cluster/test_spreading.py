"""Pods of a language are spread over nodes, by the real scheduler on nodes that are made up."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from sandboxes.kubernetes.pod_manifest import pod_manifest
from sandboxes.kubernetes.pod_names import Identity
from tests.brokers import until
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import real_config

pytestmark = pytest.mark.cluster("api")
LABEL = "millrace.dev/made-up"
ROOM = {"cpu": "8", "memory": "32Gi", "pods": "50", "ephemeral-storage": "20Gi"}


@pytest.fixture
def three_nodes(cluster: Cluster) -> Iterator[str]:
    """Nodes that nothing runs on, told by a label of their own; returns its value."""
    mark = uuid.uuid4().hex[:8]
    names = [f"made-up-{mark}-{number}" for number in range(3)]
    try:
        for name in names:
            cluster.create(_node(name, mark))
            status = json.dumps({"status": _STATUS})
            cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", status)
        yield mark
    finally:
        cluster.kubectl("delete", "nodes", *names, "--wait=false", check=False)


def _node(name: str, mark: str) -> dict[str, Any]:
    labels = {LABEL: mark, "kubernetes.io/hostname": name}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


_STATUS = {
    "capacity": ROOM,
    "allocatable": ROOM,
    "conditions": [{"type": "Ready", "status": "True", "reason": "MadeUp", "message": "for a test"}],
}


def test_pods_of_a_language_are_spread_over_nodes(cluster: Cluster, namespace: str, three_nodes: str) -> None:
    """Six and six on three nodes: two of each language on each, though one node has room for all."""
    config = real_config(
        namespace, {}, node_selector={LABEL: three_nodes}, tolerations=[{"operator": "Exists"}]
    ).pod
    for number in range(12):
        language = ("py", "js")[number % 2]
        identity = Identity(name=f"{language}-{number}", secret_sha256="0" * 64, deadline_s=600)
        manifest = pod_manifest(language, config, identity)
        cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(manifest))
    until(lambda: len(_placed(cluster, namespace)) == 12, "all pods to have a node", 60.0)
    placed = Counter((name.partition("-")[0], node) for name, node in _placed(cluster, namespace).items())
    assert sorted(placed.values()) == [2] * 6, placed


def _placed(cluster: Cluster, namespace: str) -> dict[str, str]:
    template = "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{'\\n'}{end}"
    lines = cluster.kubectl("get", "pods", "-n", namespace, "-o", template).splitlines()
    return {name: node for name, node in (line.split(" ") for line in lines) if node}
