"""Leases, watches and pods on a real API server: what the fake one in the unit tests only plays."""

import asyncio

import pytest

from sandboxes.kubernetes.api import ApiError, KubernetesApi
from sandboxes.kubernetes.lease import Lease
from sandboxes.kubernetes.pod_manifest import pod_manifest
from sandboxes.kubernetes.pod_names import Identity
from sandboxes.kubernetes.watch import PodWatch
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import open_api, real_config

pytestmark = pytest.mark.cluster("api")


@pytest.fixture
async def api(cluster: Cluster, namespace: str):
    opened = await open_api(cluster.kubeconfig, namespace)
    yield opened
    await opened.aclose()


async def test_of_many_who_want_the_lease_one_gets_it_and_gives_it_back(api: KubernetesApi) -> None:
    leases = [Lease(api, "l", f"p{number}") for number in range(6)]
    won = await asyncio.gather(*(lease.try_once() for lease in leases))
    assert sorted(won) == [False] * 5 + [True]
    winner = leases[won.index(True)]
    await winner.give_up()
    other = next(lease for lease in leases if lease is not winner)
    assert await other.try_once()
    assert not await winner.try_once()


async def test_a_pod_of_every_language_is_accepted_under_restricted(api: KubernetesApi) -> None:
    """The admission of the real API server judges, not our reading of the standard."""
    config = real_config(api.namespace, {})
    for language in config.pod.images:
        identity = Identity(name=f"pod-{language}", secret_sha256="0" * 64, deadline_s=600)
        await api.create("pods", pod_manifest(language, config.pod, identity))


async def test_nsenter_is_refused_under_restricted(api: KubernetesApi) -> None:
    config = real_config(api.namespace, {}, mode="nsenter")
    with pytest.raises(ApiError) as refused:
        await api.create(
            "pods", pod_manifest("py", config.pod, Identity(name="a", secret_sha256="", deadline_s=1))
        )
    assert refused.value.status == 403
    assert "restricted" in refused.value.reason


async def test_a_watch_sees_pods_come_and_go(api: KubernetesApi) -> None:
    config = real_config(api.namespace, {})
    changed = asyncio.Event()
    watch = PodWatch(api, "app.kubernetes.io/managed-by=millrace", changed.set)
    watching = asyncio.create_task(watch.run())
    identity = Identity(name="a", secret_sha256="0" * 64, deadline_s=600)
    await api.create("pods", pod_manifest("py", config.pod, identity))
    await _until(lambda: "a" in watch.pods)
    await api.delete("pods", "a", uid=watch.pods["a"].uid)
    await _until(lambda: not watch.pods)
    watching.cancel()


async def test_what_the_lease_owns_goes_with_it(api: KubernetesApi, cluster: Cluster) -> None:
    """As `helm uninstall` does it."""
    lease = Lease(api, "l", "p")
    assert await lease.try_once()
    config = real_config(api.namespace, {})
    identity = Identity(name="a", secret_sha256="0" * 64, deadline_s=600, owner=lease.owner)
    await api.create("pods", pod_manifest("py", config.pod, identity))
    await api.delete("leases", "l")
    for _ in range(300):
        if not (await api.find("pods", ""))["items"]:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the pod outlived its owner")


async def _until(condition) -> None:
    for _ in range(300):
        if condition():
            return
        await asyncio.sleep(0.1)
    pytest.fail("waited in vain")
