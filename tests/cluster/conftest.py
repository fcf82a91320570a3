"""One cluster for the whole run, the best that this machine can have: `make test-cluster`.

A test says what it needs: `pytestmark = pytest.mark.cluster("pods")`, or "api" for what needs no node. Where
that is absent the test is skipped on a laptop and fails in CI. "own" is for tests that start and end one
themselves: they come first.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from infra.cluster import build, lifecycle
from infra.cluster.home import home
from infra.cluster.keeper import KEPT
from infra.errors import Misconfigured
from tests.brokers import absent
from tests.cluster.images import image_name, load
from tests.cluster.kubernetes import Cluster

HaveImages = Callable[..., list[str]]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that runs, or one that comes and goes with this run of tests."""
    tier = lifecycle.running_tier()
    if tier is not None:
        yield Cluster(home(), tier)
        return
    if not build.is_built():
        absent("there is no Kubernetes here yet; `make cluster` builds one")
    try:
        lifecycle.up(lifecycle.tier_of_this_machine())
    except Misconfigured as missing:
        absent(str(missing))
    try:
        yield Cluster(home(), lifecycle.tier_of_this_machine())
    finally:
        if KEPT not in os.environ:
            lifecycle.down()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that need the machine for a cluster of their own go before the one that all others share."""
    items.sort(key=lambda item: _needed(item) != "own")


def _needed(item: pytest.Item) -> str:
    mark = item.get_closest_marker("cluster")
    return str(mark.args[0]) if mark else ""


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    """Hold a test to what its mark says it needs."""
    needed = _needed(request.node)
    assert needed, "a test in this folder says what it needs: pytest.mark.cluster('api', 'pods' or 'own')"
    if needed == "own":
        return
    if needed == "pods" and request.getfixturevalue("cluster").tier == "api":
        absent("pods need root and Debian's containerd")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of this test's own that holds pods to the restricted profile."""
    with new_namespace(cluster) as name:
        yield name


@contextmanager
def new_namespace(cluster: Cluster) -> Iterator[str]:
    """Make one, and remove it with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": _RESTRICTED}}
    )
    try:
        yield name
    finally:
        cluster.kubectl("delete", "pods", "--all", "-n", name, "--grace-period=0", "--force", check=False)
        cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)


_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="session")
def have_images(cluster: Cluster) -> HaveImages:
    """Have images in the cluster, each packed and imported once; returns their names there."""
    loaded: set[str] = set()

    def have(*names: str) -> list[str]:
        load([name for name in names if name not in loaded])
        loaded.update(names)
        return [image_name(name) for name in names]

    return have
