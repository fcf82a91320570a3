"""A pool makes no pod too many, however late or never answers, lists and watches come."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.pool import PodPool
from tests.sandboxes.pods.conftest import config_of, eventually, running
from tests.sandboxes.pods.fake_cluster import FakeCluster, refuse
from tests.sandboxes.pods.test_pool import full


class Gate:
    """Holds requests of a kind, before they are carried out or with their answer, until it is opened."""

    def __init__(self, cluster: FakeCluster, is_meant: Callable[[web.Request], bool]) -> None:
        self._cluster, self._is_meant = cluster, is_meant
        self._opened = asyncio.Event()
        self.waiting = 0

    def open(self) -> None:
        self._opened.set()

    def before(self, request: web.Request) -> Awaitable[web.StreamResponse] | None:
        return self._held(request, first=False) if self._holds(request) else None

    def after(self, request: web.Request) -> Awaitable[web.StreamResponse] | None:
        return self._held(request, first=True) if self._holds(request) else None

    def _holds(self, request: web.Request) -> bool:
        return not self._opened.is_set() and self._is_meant(request)

    async def _held(self, request: web.Request, *, first: bool) -> web.StreamResponse:
        answer = await self._cluster.answer(request) if first else None
        self.waiting += 1
        await self._opened.wait()
        return answer or await self._cluster.answer(request)


def is_creation(request: web.Request) -> bool:
    return request.method == "POST" and request.path.endswith("/pods")


def is_list(request: web.Request) -> bool:
    return request.method == "GET" and request.path.endswith("/pods") and "watch" not in request.query


def is_watch(request: web.Request) -> bool:
    return request.method == "GET" and request.path.endswith("/pods") and "watch" in request.query


async def test_a_pod_whose_creation_was_not_answered_is_asked_for_again_by_its_name(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    """The server made it, and neither its answer nor the watch has told yet."""
    watch, tried, now = Gate(cluster, is_watch), 0, [0.0]

    async def lost(request: web.Request) -> web.StreamResponse:
        nonlocal tried
        tried += 1
        answer = await cluster.answer(request)
        return refuse(504, "the request timed out") if tried == 1 else answer

    cluster.fault = lambda request: lost(request) if is_creation(request) else watch.before(request)
    async with running(PodPool(config_of({"py": 1}), api, claims, "p", clock=lambda: now[0])):
        await eventually(lambda: tried == 1, "a creation")
        now[0] += 10.0
        await eventually(lambda: tried > 2, "it to be asked for again")
        watch.open()
        await full(claims, 1)
    assert len(cluster.created) == 1


async def test_a_creation_that_was_refused_for_good_is_not_insisted_on(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    names, now = [], [0.0]

    async def refused(request: web.Request) -> web.StreamResponse:
        names.append((await request.json())["metadata"]["name"])
        return refuse(403, "exceeded quota")

    cluster.fault = lambda request: refused(request) if is_creation(request) else None
    async with running(PodPool(config_of({"py": 1}), api, claims, "p", clock=lambda: now[0])):
        await eventually(lambda: len(names) == 1, "a creation")
        now[0] += 10.0
        await eventually(lambda: len(names) == 2, "another")
    assert names[0] != names[1]


async def test_a_list_that_was_begun_before_a_pod_was_made_does_not_hide_it(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    async with running(PodPool(config_of({"py": 1}), api, claims, "p")):
        await full(claims, 1)
        lists, watches = Gate(cluster, is_list), Gate(cluster, is_watch)
        cluster.fault = lambda request: lists.after(request) or watches.before(request)
        await cluster.forget_history()
        await eventually(lambda: lists.waiting, "the list")
        await claims.hold("h")
        await claims.claim("py", "h", trigger=True)
        await eventually(lambda: len(cluster.created) == 2, "the next pod")
        await asyncio.sleep(0.2)  # its answer is there as well
        lists.open()
        await eventually(lambda: watches.waiting, "the watch after the list")
        await asyncio.sleep(0.5)
        watches.open()
        await full(claims, 1)
    assert len(cluster.created) == 2


async def test_a_pod_that_was_deleted_before_its_creation_was_answered_is_replaced(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims
):
    creations = Gate(cluster, is_creation)
    cluster.fault = creations.after
    async with running(PodPool(config_of({"py": 1}), api, claims, "p")):
        await eventually(lambda: creations.waiting, "a creation")
        (name,) = cluster.pods()
        await cluster.remove("pods", name)
        await asyncio.sleep(0.3)  # the watch has told both
        creations.open()
        await eventually(lambda: len(cluster.created) == 2, "another one")
        await full(claims, 1)
