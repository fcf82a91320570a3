"""Publishing an execution: once for an id, whoever publishes it how often."""

import asyncio

import pytest

from infra.errors import LeaseLost
from schemas.ids import ExecutionId
from schemas.wire import decode_event, encode
from streams.protocol import DeliveryPolicy, Ended, HeldElsewhere, IdTaken
from tests.streams.conftest import PATIENT, NatsWorld, World
from tests.streams.helpers import (
    begin,
    command,
    consuming,
    eventually,
    finished,
    lease_of,
    run_to_the_end,
    submit,
    take,
    taking,
    types,
    whole_log,
)


@pytest.mark.everywhere
async def test_what_is_submitted_is_queued_run_and_finished_in_order(world: World) -> None:
    """One execution from end to end: `seq` has no gaps and `finished` is last."""
    edge, handler = await world.transport(), await world.transport()
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery, "a", "b")):
        submission = await submit(edge, command())
        events = await whole_log(edge, "job-1")
    assert submission.result == "accepted"
    assert submission.record.status == "queued"
    assert types(events) == ["queued", "started", "output", "output", "finished"]
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert [decode_event(event.data).seq for event in events] == [1, 2, 3, 4, 5]


async def test_the_same_request_again_joins_the_execution_that_exists(world: World) -> None:
    """Submitting twice runs once, whichever entry is begun."""
    # On NATS the older of two entries goes when it is handed out again.
    policy = DeliveryPolicy(lease_s=2.0) if isinstance(world, NatsWorld) else PATIENT
    edge, handler = await world.transport(), await world.transport(policy)
    first, second = await submit(edge, command()), await submit(edge, command())
    assert (first.result, second.result) == ("accepted", "joined")
    runs: list[object] = []

    async def run(delivery: object) -> None:
        outcome = await begin(handler, delivery)  # type: ignore[arg-type]
        if not isinstance(outcome, (Ended, HeldElsewhere)):
            runs.append(outcome)
            await handler.finish(outcome.lease, [], finished(outcome.lease.execution_id))  # type: ignore[union-attr]

    async with consuming(handler, run):
        await whole_log(edge, "job-1")
        await eventually(lambda: _is_empty(edge), "both entries to be acknowledged")
    assert len(runs) == 1
    assert (await submit(edge, command())).result == "joined"
    # Results are at least once: on a cluster the duplicate may see an end that is not settled yet.
    assert {result.execution_id for result in await world.results()} == {"job-1"}


async def test_the_older_of_two_entries_goes_with_the_newer_one(world: World) -> None:
    """It does not give way while the newer one is leased; the end of the execution takes both."""
    if isinstance(world, NatsWorld):
        pytest.skip("on NATS it goes when it is handed out again")
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    await submit(edge, command())
    async with taking(handler) as deliveries:
        older, newer = await deliveries.get(), await deliveries.get()
        lease = await lease_of(handler, newer)
        assert isinstance(await begin(handler, older), HeldElsewhere)
        assert (await edge.depth()).pending == 2
        await handler.finish(lease, [], finished(lease.execution_id))
        assert await _is_empty(edge)


async def test_another_body_under_the_same_id_is_a_conflict(world: World) -> None:
    """An id is an idempotency key, not a slot to overwrite."""
    edge = await world.transport()
    await submit(edge, command(code="print(1)"))
    refused = await submit(edge, command(code="print(2)"))
    assert refused.result == "conflict"
    assert (await edge.depth()).waiting == 1


async def test_another_body_published_past_the_edge_is_refused_by_begin(world: World) -> None:
    """A bare publisher cannot take an id over either."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command(code="print(1)"))
    await world.publish(encode(command(code="print(2)")))
    async with taking(handler) as deliveries:
        first, second = await deliveries.get(), await deliveries.get()
        await lease_of(handler, first)
        assert isinstance(await begin(handler, second), IdTaken)
        await handler.reject(second, finished(ExecutionId("job-1"), "rejected"), command().tenant)
        assert [result.outcome for result in await world.results()] == ["rejected"]
        assert (await edge.depth()).pending == 1


async def test_an_entry_published_bare_gets_its_queued_event_when_it_is_begun(world: World) -> None:
    """Every log begins with `queued`, whoever published the request."""
    edge, handler = await world.transport(), await world.transport()
    await world.publish(encode(command()))
    assert await edge.record(ExecutionId("job-1")) is None
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        events = await whole_log(edge, "job-1")
    assert types(events) == ["queued", "started", "finished"]


async def test_a_record_tells_how_far_an_execution_has_come(world: World) -> None:
    """Status, times, tenant, language and session, and the last seq."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command(tenant="acme", session_id="s1"))
    delivery = await take(handler)
    lease = await lease_of(handler, delivery)
    queued = await edge.record(ExecutionId("job-1"))
    assert queued is not None
    assert (queued.status, queued.tenant, queued.language, queued.session_id, queued.seq) == (
        "queued",
        "acme",
        "py",
        "s1",
        1,
    )
    from tests.streams.helpers import started

    event = started(lease)
    await handler.append(lease, [event])
    running = await edge.record(ExecutionId("job-1"))
    assert running is not None and running.status == "running" and running.started_at == event.time
    end = finished(lease.execution_id)
    await handler.finish(lease, [], end)
    done = await edge.record(ExecutionId("job-1"))
    assert done is not None and done.status == "finished" and done.finished_at == end.time and done.seq == 3
    assert await edge.record(ExecutionId("nobody")) is None


@pytest.mark.everywhere
async def test_a_result_goes_to_results_with_its_tenant_and_the_event_to_reply_to(world: World) -> None:
    """Consumers beside us get every end."""
    edge, handler = await world.transport(), await world.transport()
    reply_to = f"{getattr(getattr(world, 'config', None), 'prefix', '')}backend:answers"
    await submit(edge, command(tenant="acme", reply_to=reply_to))
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        events = await whole_log(edge, "job-1")
        await eventually(lambda: _is_empty(edge), "the acknowledgement")
    [result] = await world.results()
    assert (result.execution_id, result.tenant, result.outcome) == ("job-1", "acme", "exited")
    assert await world.replies(reply_to) == [events[-1].data]


@pytest.mark.everywhere
async def test_depth_counts_what_waits_and_what_is_handed_out(world: World) -> None:
    """For 503 and for metrics."""
    edge, handler = await world.transport(), await world.transport()
    assert await edge.depth() == await handler.depth()
    assert (await edge.depth()).waiting == 0
    for number in range(3):
        await submit(edge, command(f"job-{number}"))
    async with taking(handler, 1) as deliveries:
        await deliveries.get()
        depth = await edge.depth()
        assert (depth.waiting, depth.pending) == (2, 1)


@pytest.mark.everywhere
async def test_a_dead_letter_keeps_the_entry_and_says_why(world: World) -> None:
    """Data, reason, stream and entry; the entry is off the requests unless `finish` is still to come."""
    edge, handler = await world.transport(), await world.transport()
    await world.publish(b"no json")
    async with taking(handler) as deliveries:
        delivery = await deliveries.get()
        await handler.bury(delivery, "first reason", acknowledge=False)
        assert (await edge.depth()).pending == 1
        await handler.bury(delivery, "not valid JSON")
        depth = await edge.depth()
    assert (depth.waiting, depth.pending) == (0, 0)
    kept, last = await world.dead()
    assert kept["reason"] == "first reason"
    assert (last["data"], last["reason"]) == ("no json", "not valid JSON")
    assert (last["stream"], last["entry"]) == (delivery.stream, delivery.entry)
    assert last["time"].endswith("Z")


async def test_a_forgotten_broker_loses_the_lease_and_goes_on_with_new_work(world: World) -> None:
    """After a flush nothing of the old may be written, and consumers still consume."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    async with taking(handler) as deliveries:
        lease = await lease_of(handler, await deliveries.get())
        await world.flush()
        with pytest.raises(LeaseLost):
            await handler.renew(lease)
        with pytest.raises(LeaseLost):
            await handler.finish(lease, [], finished(lease.execution_id))
        await submit(edge, command("job-2"))
        async with asyncio.timeout(20):
            assert (await lease_of(handler, await deliveries.get())).execution_id == "job-2"


async def _is_empty(edge: object) -> bool:
    depth = await edge.depth()  # type: ignore[attr-defined]
    return bool(depth.waiting == depth.pending == 0)
