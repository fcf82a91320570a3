"""The cluster that the other tests lean on is one."""

import pytest

from tests.cluster.kubernetes import Cluster


@pytest.mark.cluster("api")
def test_objects_are_kept_and_who_may_not_is_refused(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "configmap", "a", "--from-literal=b=c", "-n", namespace)
    assert cluster.get("configmap", "a", namespace)["data"] == {"b": "c"}
    nobody = ("--as", "nobody", "get", "pods", "-n", namespace)
    assert "forbidden" in cluster.kubectl(*nobody, check=False)


@pytest.mark.cluster("api")
def test_a_privileged_pod_is_refused_where_pods_are_restricted(cluster: Cluster, namespace: str) -> None:
    refusal = cluster.kubectl(
        "run", "x", "--image=x", "--privileged", "-n", namespace, "--dry-run=server", check=False
    )
    assert "violates PodSecurity" in refusal


@pytest.mark.cluster("api")
def test_helm_is_there_and_knows_the_version(cluster: Cluster) -> None:
    assert cluster.helm("version", "--short").startswith("v3.")


@pytest.mark.cluster("pods")
def test_the_node_takes_pods(cluster: Cluster) -> None:
    (condition,) = [
        each for each in cluster.get("node", "node")["status"]["conditions"] if each["type"] == "Ready"
    ]
    assert condition["status"] == "True"
