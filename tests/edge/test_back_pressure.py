"""Too much at once: 503 for all, 429 for one tenant, each with when to come back, computed, not made up."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from edge.back_pressure import RETRY_S_MAX, BackPressure
from edge.queue import LOOKS_MAX, Queue
from edge.refusals import Refusal
from infra.errors import Unavailable
from schemas.ids import TenantId
from streams.depth import QueueDepth

RUN = {"language": "py", "code": "print(1)"}
ONE, TWO = TenantId("one"), TenantId("two")


class Broker:
    """A publisher that knows nothing but how much waits, and a clock that a test sets."""

    def __init__(self) -> None:
        self.depths = QueueDepth(0, 0)
        self.away = False
        self.looks = 0
        self.now = 100.0
        self.gate = asyncio.Event()
        self.gate.set()

    async def depth(self) -> QueueDepth:
        self.looks += 1
        await self.gate.wait()
        if self.away:
            raise Unavailable("away")
        return self.depths

    def holds(self, waiting: int, finished: int = 0, **tenants: int) -> None:
        """Set what waits."""
        counts = {TenantId(name): count for name, count in tenants.items()}
        self.depths = QueueDepth(waiting, 0, tenants=counts, finished=finished)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def pressure(broker: Broker) -> Callable[..., BackPressure]:
    """Back pressure on that broker."""

    def make(waiting_max: int = 100, tenant_waiting_max: int = 50) -> BackPressure:
        queue = Queue(broker, clock=lambda: broker.now)  # type: ignore[arg-type]
        return BackPressure(queue, waiting_max, tenant_waiting_max)

    return make


async def refused(pressure: BackPressure, tenant: TenantId = ONE) -> Refusal:
    """Return how a tenant is refused."""
    with pytest.raises(Refusal) as caught:
        await pressure.admit(tenant)
    return caught.value


@pytest.mark.parametrize(
    ("bounds", "status", "error"),
    [({"waiting_max": 2}, 503, "queue_full"), ({"tenant_waiting_max": 2}, 429, "rate_limited")],
)
async def test_more_waiting_than_allowed_is_refused_on_both_routes(
    make_house: Any, bounds: dict[str, int], status: int, error: str
) -> None:
    """A burst between two looks at the queue is bounded as well."""
    house = await make_house(handled=False, **bounds)
    statuses = [(await house.client.post("/executions", json=RUN)).status_code for _ in range(4)]
    assert statuses == [202, 202, status, status]
    for path, body in (("/exec", {"lang": "py", "code": "x"}), ("/v1/executions", RUN)):
        answer = await house.client.post(path, json=body)
        told = answer.json()
        assert (answer.status_code, told["error"], told["limit"]) == (status, error, 2)
        assert int(answer.headers["retry-after"]) == told["retry_after_seconds"] >= 1
        assert ("field" in told) == (status == 429)


async def test_one_tenant_that_is_full_leaves_room_for_another(broker: Broker, pressure: Any) -> None:
    """Only who has too much waiting is told to come back."""
    some = pressure(tenant_waiting_max=3)
    for _ in range(3):
        await some.admit(ONE)
    broker.holds(3, one=3)
    assert (await refused(some, ONE)).status == 429
    await some.admit(TWO)


async def test_what_was_published_past_the_edge_counts(make_house: Any) -> None:
    """A bare entry fills the queue like any other."""
    house = await make_house(handled=False, tenant_waiting_max=3)
    for number in range(3):
        house.broker.publish(b'{"language": "py", "code": "x", "id": "bare-%d"}' % number)
    assert (await house.client.post("/executions", json=RUN)).status_code == 429


async def test_what_was_full_is_not_full_for_ever(broker: Broker, pressure: Any) -> None:
    """Before anybody is refused it is looked again, but not for every one of many."""
    broker.holds(5)
    full = pressure(waiting_max=10)
    for _ in range(5):
        await full.admit(ONE)
    assert broker.looks == 1
    broker.now += 0.1
    await full.admit(ONE)  # the five were taken meanwhile
    assert broker.looks == 2
    broker.holds(10)
    broker.now += 2.0
    for _ in range(20):
        await refused(full)
    assert broker.looks <= 4
    broker.holds(0)
    broker.now += 0.1
    await full.admit(ONE)


async def test_steady_traffic_does_not_wait_for_the_look(broker: Broker, pressure: Any) -> None:
    """It is looked aside; only after a silence somebody waits for it."""
    some = pressure()
    await some.admit(ONE)
    broker.gate.clear()
    broker.now += 0.6
    async with asyncio.timeout(5):
        await some.admit(ONE)
        await asyncio.sleep(0)
        assert broker.looks == 2
        broker.gate.set()
        for _ in range(2):  # the first one may find the look that is on its way
            broker.now += 5.0
            await some.admit(ONE)
    assert broker.looks == 3


async def test_many_at_once_look_once(broker: Broker, pressure: Any) -> None:
    """The first request of an edge is seldom alone."""
    some = pressure()
    await asyncio.gather(*(some.admit(ONE) for _ in range(50)))
    assert broker.looks == 1


async def test_a_broker_that_is_away_is_told(broker: Broker, pressure: Any) -> None:
    """Nothing is guessed, and the next one asks again."""
    some = pressure()
    broker.away = True
    with pytest.raises(Unavailable):
        await some.admit(ONE)
    broker.away = False
    await some.admit(ONE)


@pytest.mark.parametrize(("per_s", "after_s"), [(10.0, 6), (1.0, 60), (100.0, 1), (0.0, RETRY_S_MAX)])
async def test_when_to_come_back_follows_from_depth_and_rate(
    broker: Broker, pressure: Any, per_s: float, after_s: float
) -> None:
    """A tenth of the room is free then: of 100, with 150 waiting, once 60 are finished."""
    some = pressure(waiting_max=100)
    broker.holds(0, finished=1000)
    await some.admit(ONE)
    broker.now += 10.0
    broker.holds(150, finished=1000 + round(10 * per_s))
    refusal = await refused(some)
    assert refusal.body.retry_after_seconds == after_s
    assert refusal.headers["retry-after"] == str(round(after_s))


async def test_a_moment_in_which_nothing_finished_is_no_rate(broker: Broker, pressure: Any) -> None:
    """Looked at for too short, one in a second is assumed; later, one in all the time that was looked at."""
    some = pressure(waiting_max=10)
    broker.holds(10, finished=5)
    assert (await refused(some)).body.retry_after_seconds == 1
    broker.now += 0.1
    broker.holds(15, finished=5)
    assert (await refused(some)).body.retry_after_seconds == 6
    broker.now += 4.9
    assert (await refused(some)).body.retry_after_seconds == 30


async def test_a_tenants_share_of_the_rate_counts(broker: Broker, pressure: Any) -> None:
    """Five tenants wait: each gets a fifth of ten in a second."""
    some = pressure(waiting_max=1000, tenant_waiting_max=50)
    await some.admit(ONE)
    broker.now += 10.0
    broker.holds(90, finished=100, one=55, two=9, three=9, four=9, five=8)
    refusal = await refused(some, ONE)
    assert (refusal.status, refusal.body.retry_after_seconds) == (429, 5)  # (55 - 50 + 5) / 2
    await some.admit(TWO)


async def test_the_rate_is_of_the_last_half_minute(broker: Broker) -> None:
    """What was fast long ago says nothing, and the memory of it is bounded."""
    queue = Queue(broker, clock=lambda: broker.now)  # type: ignore[arg-type]
    assert queue.finished_per_s is None
    finished = 0
    for second in range(1000):
        finished += 100 if second < 900 else 2
        broker.holds(0, finished=finished)
        await queue.look(0.5)
        broker.now += 1.0
    assert queue.finished_per_s == pytest.approx(2.0)
    assert len(queue._looks) <= LOOKS_MAX
    broker.holds(0, finished=0)
    broker.now += 1.0
    await queue.look(0.5)
    assert queue.finished_per_s is None  # the broker was emptied


async def test_metrics_tell_the_queue_by_priority_and_no_tenant(make_house: Any) -> None:
    """What an autoscaler needs; while the broker is away the queue is left out, not told wrongly."""
    house = await make_house(handled=False)
    await house.client.post("/executions", json={**RUN, "priority": "batch"})
    await house.client.post("/executions", json=RUN)
    house.broker.publish(b'{"language": "py", "code": "x", "tenant": "secret-tenant"}')
    text = (await house.client.get("/metrics")).text
    assert 'millrace_queue_waiting{priority="interactive"}' in text
    for line in (
        "millrace_queue_pending 0.0",
        "millrace_queue_parked 0.0",
        "millrace_queue_finished_total 0.0",
    ):
        assert line in text
    assert "millrace_queue_oldest_seconds" in text
    assert "secret-tenant" not in text


async def test_metrics_leave_the_queue_out_while_the_broker_is_away(make_house: Any) -> None:
    """A number that is not known is no number."""

    class Away:
        async def depth(self) -> QueueDepth:
            raise Unavailable("away")

    house = await make_house(publisher=Away())
    answer = await house.client.get("/metrics")
    assert answer.status_code == 200
    assert "millrace_queue" not in answer.text


async def test_an_unknown_priority_is_refused_by_name(house: Any) -> None:
    """As any field with a wrong value."""
    answer = await house.client.post("/executions", json={**RUN, "priority": "urgent"})
    assert (answer.status_code, answer.json()["field"]) == (422, "priority")
