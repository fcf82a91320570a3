"""The pool: fills, refills, adopts, replaces, backs off, and leaves nothing behind."""

import asyncio
import json

import pytest

from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.pool import PodPool
from tests.sandboxes.pods.conftest import config_of, eventually, running
from tests.sandboxes.pods.fake_cluster import FakeCluster, ended, ready, refuse, waiting


async def registered(claims: Claims) -> set[str]:
    return {name for name, state in (await claims.states()).items() if state == "ready"}


async def full(claims: Claims, count: int) -> None:
    async def is_full() -> bool:
        return len(await registered(claims)) == count

    await eventually(is_full, f"{count} ready pods")


async def test_it_fills_each_language_to_its_size(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    async with running(PodPool(config_of({"py": 3, "js": 2, "go": 0}), api, claims, "p")):
        await full(claims, 5)
    languages = [pod["metadata"]["labels"]["millrace.dev/language"] for pod in cluster.pods().values()]
    assert sorted(languages) == ["js", "js", "py", "py", "py"]


async def test_no_more_than_the_batch_start_at_a_time(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    cluster.kubelet = lambda _pod: None
    async with running(PodPool(config_of({"py": 9}, parallel=4), api, claims, "p")):
        await eventually(lambda: len(cluster.pods()) == 4, "the first batch")
        await asyncio.sleep(0.5)
        assert len(cluster.pods()) == 4
        for name in cluster.pods():
            await cluster.change_pod(name, **ready("127.0.0.1"))
        await eventually(lambda: len(cluster.pods()) == 8, "the second batch")


async def test_a_taken_pod_is_replaced_at_once(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    """Also where the settings look every hour only."""
    async with running(PodPool(config_of({"py": 2}, every_s=3600.0), api, claims, "p")):
        await full(claims, 2)
        await claims.hold("h")
        await claims.claim("py", "h", trigger=True)
        await full(claims, 2)
    assert len(cluster.pods()) == 3


async def test_it_adopts_what_is_there(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    async with running(PodPool(config_of({"py": 3}), api, claims, "p1")):
        await full(claims, 3)
    async with running(PodPool(config_of({"py": 3}), api, claims, "p2")):
        await asyncio.sleep(1.0)
        assert len(await registered(claims)) == 3
    assert len(cluster.created) == 3
    assert cluster.deleted == []


async def test_it_adopts_also_when_the_register_is_gone(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    """But only what it knows the secret of: that went with the register, so all are replaced."""
    async with running(PodPool(config_of({"py": 2}), api, claims, "p1")):
        await full(claims, 2)
    first = set(cluster.pods())
    keys = [key async for key in claims._client.scan_iter(f"{claims._base}*")]
    await claims._client.delete(*keys)
    async with running(PodPool(config_of({"py": 2}), api, claims, "p2")):
        await eventually(lambda: first <= set(cluster.deleted), "the old ones to go")
        await full(claims, 2)


async def test_other_settings_replace_the_pods(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    async with running(PodPool(config_of({"py": 2}), api, claims, "p1")):
        await full(claims, 2)
    first = set(cluster.pods())
    changed = config_of({"py": 2})
    changed.pod.images["py"] = "test.local/language:2"
    async with running(PodPool(changed, api, claims, "p2")):
        await eventually(lambda: set(cluster.deleted) == first, "the old ones to go")
        await full(claims, 2)


async def test_a_pod_that_waited_too_long_is_replaced(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    """Its age is the cluster's to tell, so the settings shorten what is too long."""
    async with running(PodPool(config_of({"py": 1}), api, claims, "p1")):
        await full(claims, 1)
    (old,) = cluster.pods()
    await asyncio.sleep(1.1)
    async with running(PodPool(config_of({"py": 1}, idle_s_max=1.0), api, claims, "p2")):
        await eventually(lambda: old in cluster.deleted, "the old one to go")
        await eventually(lambda: len(cluster.created) > 1, "another one")


@pytest.mark.parametrize(
    "how", [ended("OOMKilled"), {"phase": "Failed", "reason": "Evicted"}], ids=["oom", "evicted"]
)
async def test_a_broken_pod_is_replaced(cluster: FakeCluster, api: KubernetesApi, claims: Claims, how):
    async with running(PodPool(config_of({"py": 2}), api, claims, "p")):
        await full(claims, 2)
        victim = next(iter(cluster.pods()))
        await cluster.change_pod(victim, **how)
        await eventually(lambda: victim in cluster.deleted, "the broken one to go")
        await full(claims, 2)


async def test_a_pod_deleted_by_hand_is_replaced(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    async with running(PodPool(config_of({"py": 1}), api, claims, "p")):
        await full(claims, 1)
        (victim,) = cluster.pods()
        await cluster.remove("pods", victim)
        await eventually(lambda: len(cluster.created) == 2, "another one")
        await full(claims, 1)
        taken = await claims.claim("py", "h", trigger=False)
        assert taken and taken[0] != victim


async def test_the_pod_of_a_dead_handler_is_deleted(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    """Dead is whoever gives no sign for long; here the clock is ours."""
    now = [0.0]
    async with running(PodPool(config_of({"py": 1}), api, claims, "p", clock=lambda: now[0])):
        await full(claims, 1)
        taken = await claims.claim("py", "dead", trigger=True)
        assert taken
        await full(claims, 1)
        assert taken[0] not in cluster.deleted
        now[0] = 100.0
        await eventually(lambda: taken[0] in cluster.deleted, "its pod to be deleted")


async def test_the_pod_of_a_living_handler_is_not(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    now = [0.0]
    await claims.hold("alive")
    async with running(PodPool(config_of({"py": 1}), api, claims, "p", clock=lambda: now[0])):
        await full(claims, 1)
        taken = await claims.claim("py", "alive", trigger=True)
        await full(claims, 1)
        now[0] = 100.0
        await asyncio.sleep(0.5)
        assert taken and taken[0] in cluster.pods()


async def test_the_job_of_a_dead_handler_is_deleted(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    from sandboxes.kubernetes.jobs import Jobs

    config, now = config_of({}), [0.0]
    await Jobs(api, config, "dead").start("job-1", "rs", None)
    async with running(PodPool(config, api, claims, "p", clock=lambda: now[0])):
        await asyncio.sleep(0.5)
        assert "job-1-pod" in cluster.pods()
        now[0] = 10.0
        await asyncio.sleep(0.3)
        now[0] = 100.0
        await eventually(lambda: "job-1-pod" in cluster.deleted, "the Job and its pod to be deleted")


async def test_a_pool_that_cannot_fill_says_why_and_does_not_hurry(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    cluster.kubelet = lambda _pod: waiting("ErrImagePull", "no such image: test.local/language:1")
    async with running(PodPool(config_of({"py": 2}), api, claims, "p")):

        async def is_told() -> bool:
            status = await claims.status()
            return bool(status and "no such image" in status.levels["py"].trouble)

        await eventually(is_told, "the reason")
        await eventually(cluster.events, "an event")
        events = await cluster.events()
        assert events[0]["reason"] == "PoolCannotFill"
        assert "no such image" in events[0]["message"]
        await asyncio.sleep(0.5)
        assert len(cluster.created) == 2


async def test_a_quota_is_told_and_backed_off_from(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    tried = 0

    def over_quota(request):
        nonlocal tried
        if request.method == "POST" and request.path.endswith("/pods"):
            tried += 1
            return refuse(403, "exceeded quota: pods=0")
        return None

    cluster.fault = over_quota
    now = [0.0]
    async with running(PodPool(config_of({"py": 1}), api, claims, "p", clock=lambda: now[0])):
        await eventually(lambda: tried == 1, "the first try")
        await asyncio.sleep(0.5)
        assert tried == 1
        status = await claims.status()
        assert status and status.levels["py"].trouble == "exceeded quota: pods=0"
        now[0] = 1.5
        await eventually(lambda: tried == 2, "the second try")
        now[0] = 3.0
        await asyncio.sleep(0.5)
        assert tried == 2, "each wait is longer"
        cluster.fault = None
        now[0] = 10.0
        await full(claims, 1)
        status = await claims.status()
        assert status


async def test_a_cold_pool_fills_from_the_first_request_on(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    async with running(PodPool(config_of({"py": 2, "js": 1}, warm_up=False), api, claims, "p")):
        await asyncio.sleep(0.5)
        assert cluster.created == []
        assert await claims.claim("py", "h", trigger=True) is None
        await full(claims, 2)
        assert all("-py-" in name for name in cluster.created)


async def test_one_leads_and_another_takes_over(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    first, second = (
        PodPool(config_of({"py": 2}), api, claims, "p1"),
        PodPool(config_of({"py": 2}), api, claims, "p2"),
    )
    async with running(second):
        async with running(first):
            await full(claims, 2)
            await asyncio.sleep(0.5)
            assert len(cluster.created) == 2
        leader = cluster.objects["leases", "millrace-pool"]["spec"]["holderIdentity"]
        await eventually(
            lambda: cluster.objects["leases", "millrace-pool"]["spec"]["holderIdentity"] in ("p1", "p2"),
            "a leader",
        )
        assert leader in ("", "p1", "p2")
        await claims.hold("h")
        await claims.claim("py", "h", trigger=True)
        await full(claims, 2)
    assert len(cluster.created) == 3


async def test_pods_belong_to_the_lease(cluster: FakeCluster, api: KubernetesApi, claims: Claims):
    """Deleting the Lease deletes them all."""
    async with running(PodPool(config_of({"py": 1}), api, claims, "p")):
        await full(claims, 1)
    lease = cluster.objects["leases", "millrace-pool"]["metadata"]
    (pod,) = cluster.pods().values()
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Lease", "millrace-pool", lease["uid"])


async def test_no_request_of_the_pool_holds_a_secret(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    async with running(PodPool(config_of({"py": 1}), api, claims, "p")):
        await full(claims, 1)
    taken = await claims.claim("py", "h", trigger=False)
    assert taken
    assert taken[1].secret not in json.dumps([*cluster.objects.values()])
