"""What an API server can do to us: all of it passes, and nothing spins meanwhile."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from sandboxes.kubernetes.api import ApiError, KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.lease import Lease, LeaseTerms
from sandboxes.kubernetes.pool import PodPool
from sandboxes.kubernetes.watch import PodWatch
from tests.sandboxes.pods.conftest import config_of, eventually, running
from tests.sandboxes.pods.fake_cluster import FakeCluster, refuse
from tests.sandboxes.pods.test_pool import full

POD = {"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"containers": []}}


async def test_a_watch_that_is_too_old_begins_anew(cluster: FakeCluster, api: KubernetesApi) -> None:
    changed = asyncio.Event()
    watch = PodWatch(api, "x=y", changed.set)
    task = asyncio.create_task(watch.run())
    await eventually(lambda: watch.is_synced, "the first list")
    await cluster.forget_history()
    await api.create("pods", POD)
    await eventually(lambda: "a" in watch.pods, "the pod to be seen")
    await cluster.remove("pods", "a")
    await eventually(lambda: not watch.pods, "its end to be seen")
    task.cancel()


async def test_a_watch_that_is_always_too_old_does_not_spin(cluster: FakeCluster, api: KubernetesApi) -> None:
    cluster.fault = lambda request: refuse(410, "gone") if "watch" in request.query else None
    task = asyncio.create_task(PodWatch(api, "x=y", lambda: None).run())
    await asyncio.sleep(1.0)
    task.cancel()
    assert len(cluster.requests) < 25


async def test_a_throttled_client_waits_as_long_as_it_is_told(
    cluster: FakeCluster, api: KubernetesApi
) -> None:
    headers = {"Retry-After": "1"}
    cluster.fault = lambda _request: refuse(429, "too many requests", **headers)
    with pytest.raises(ApiError) as refused:
        await api.get("pods", "a")
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1.0)
    watch = PodWatch(api, "x=y", lambda: None)
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0.8)
    assert len(cluster.requests) == 2
    assert watch.trouble == "too many requests"
    cluster.fault = None
    await eventually(lambda: watch.is_synced and not watch.trouble, "the watch to recover")
    task.cancel()


async def test_an_api_that_is_away_is_told_and_comes_back(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
) -> None:
    """Ready pods go on being handed out meanwhile; afterwards the pool fills again."""

    def hang_up(request: web.Request) -> web.StreamResponse | None:
        assert request.transport
        request.transport.abort()
        return web.Response(status=500)

    async with running(PodPool(config_of({"py": 3}), api, claims, "p")):
        await full(claims, 3)
        await claims.hold("h")
        cluster.fault = hang_up
        assert await claims.claim("py", "h", trigger=True)
        assert await claims.claim("py", "h", trigger=True)
        before = len(cluster.requests)
        await asyncio.sleep(2.0)
        assert len(cluster.requests) - before < 60, Counter(cluster.requests[before:])
        cluster.fault = None
        await claims.hold("h")
        await full(claims, 3)
    assert len(cluster.created) == 5


async def test_a_rotated_token_is_read_again(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a cluster the token is a file that the kubelet rewrites."""
    import kubernetes_asyncio.config.incluster_config as inside

    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("token-1")
    ca.write_text("none")
    monkeypatch.setattr(
        "sandboxes.kubernetes.api.loading.load_incluster_config", _load_from(token, ca, cluster.url)
    )
    monkeypatch.setattr("sandboxes.kubernetes.api._OWN_NAMESPACE", tmp_path / "namespace")
    (tmp_path / "namespace").write_text("default\n")
    monkeypatch.setattr(inside, "TOKEN_REFRESH_PERIOD", inside.datetime.timedelta(0))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    api = KubernetesApi()
    await api.open()
    assert api.namespace == "default"
    await api.find("pods", "")
    cluster.token = "token-2"
    with pytest.raises(ApiError):
        await api.find("pods", "")
    token.write_text("token-2")
    await api.find("pods", "")
    await api.aclose()


def _load_from(token: Path, ca: Path, url: str):
    from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader

    def load(client_configuration):
        environ = {"KUBERNETES_SERVICE_HOST": "x", "KUBERNETES_SERVICE_PORT": "1"}
        loader = InClusterConfigLoader(str(token), str(ca), environ=environ)
        loader.load_and_set(client_configuration)
        client_configuration.host, client_configuration.ssl_ca_cert = url, None

    return load


async def test_deleting_what_is_gone_or_another_s_is_no_failure(
    cluster: FakeCluster, api: KubernetesApi
) -> None:
    assert not await api.delete("pods", "a")
    await api.create("pods", POD)
    assert not await api.delete("pods", "a", uid="another")
    assert "a" in cluster.pods()
    assert await api.delete("pods", "a", uid=cluster.pods()["a"]["metadata"]["uid"])


async def test_of_two_who_want_a_free_lease_one_gets_it(cluster: FakeCluster, api: KubernetesApi) -> None:
    leases = [Lease(api, "l", f"p{number}") for number in range(8)]
    assert sorted(await asyncio.gather(*(lease.try_once() for lease in leases))) == [False] * 7 + [True]


async def test_a_silent_leader_is_replaced_after_its_time_and_not_before(
    cluster: FakeCluster, api: KubernetesApi
) -> None:
    now = [0.0]
    terms = LeaseTerms(lasts_s=10)
    first, second = Lease(api, "l", "p1", terms), Lease(api, "l", "p2", terms, clock=lambda: now[0])
    assert await first.try_once()
    assert not await second.try_once()
    now[0] = 9.0
    assert not await second.try_once()
    assert await first.try_once()
    now[0] = 18.0
    assert not await second.try_once()
    now[0] = 29.0
    assert await second.try_once()
    assert not await first.try_once()
    assert cluster.objects["leases", "l"]["spec"]["leaseTransitions"] == 2


async def test_a_leader_that_cannot_renew_stops_before_others_begin(
    cluster: FakeCluster, api: KubernetesApi
) -> None:
    terms = LeaseTerms(lasts_s=2, give_up_s=0.5, renew_s=0.1)
    lease = Lease(api, "l", "p1", terms)
    stopped, started = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    leading = asyncio.create_task(lease.lead(work))
    await asyncio.wait_for(started.wait(), 10)
    cluster.fault = lambda _request: refuse(500, "away")
    await asyncio.wait_for(stopped.wait(), 10)
    leading.cancel()
