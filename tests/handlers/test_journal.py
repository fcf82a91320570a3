"""The journal: every byte once, in order, in few events, and nothing after the lease is lost."""

import asyncio

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers import journal as journal_module
from handlers.journal import BUFFER_BYTES_MAX, Journal
from infra.errors import LeaseLost
from sandboxes.protocol import OutputFrame
from schemas.commands import RunCode
from schemas.events import Finished, Output, Started
from streams.memory import MemoryBroker, MemoryTransport
from streams.protocol import DeliveryPolicy

COMMAND = RunCode(language="py", code="1", id="job-1")


def started(now) -> Started:
    return Started(execution_id="job-1", seq=0, time=now(), attempt=1, sandbox="fake", language="py")


def finished(now) -> Finished:
    return Finished(execution_id="job-1", seq=0, time=now(), outcome="exited")


def text_of(events, stream: str) -> bytes:
    return b"".join(event.raw() for event in events if isinstance(event, Output) and event.stream == stream)


async def test_output_comes_between_started_and_finished_byte_for_byte(transport, begin, events_of, now):
    """The shape of every log."""
    begun = await begin(COMMAND)
    async with Journal(transport, begun.lease, now) as journal:
        await journal.write(started(now))
        await journal.output(OutputFrame("stdout", b"a\n"))
        await journal.output(OutputFrame("stderr", b"b\n"))
        await journal.finish(finished(now))
    events = await events_of("job-1")
    assert [type(event).__name__ for event in events] == ["Queued", "Started", "Output", "Output", "Finished"]
    assert (text_of(events, "stdout"), text_of(events, "stderr")) == (b"a\n", b"b\n")


async def test_frames_that_come_together_leave_in_one_event(transport, begin, events_of, now):
    """A hundred tiny writes are not a hundred entries."""
    begun = await begin(COMMAND)
    async with Journal(transport, begun.lease, now) as journal:
        for _ in range(100):
            await journal.output(OutputFrame("stdout", b"."))
        await journal.finish(finished(now))
    events = await events_of("job-1")
    assert text_of(events, "stdout") == b"." * 100
    assert len(events) <= 4


async def test_the_first_line_leaves_at_once_for_whoever_watches(
    transport, begin, events_of, now, monkeypatch
):
    """Where nobody does it waits for company, which may be the end."""
    monkeypatch.setattr(journal_module, "LINGER_S", 60.0)
    for is_watched, types in (True, ["Queued", "Output", "Finished"]), (False, ["Queued", "Finished"]):
        name = f"job-{is_watched}"
        begun = await begin(RunCode(language="py", code="1", id=name))
        async with Journal(transport, begun.lease, now, is_watched=is_watched) as writer:
            await writer.output(OutputFrame("stdout", b"first"))
            for _ in range(10):
                await asyncio.sleep(0)
            assert [type(event).__name__ for event in await events_of(name)] == types[:-1]
            await writer.finish(msgspec.structs.replace(finished(now), execution_id=name))


async def test_output_leaves_without_waiting_for_the_end(transport, begin, now):
    """A follower sees a line while the program still runs."""
    begun = await begin(COMMAND)
    async with Journal(transport, begun.lease, now) as journal, transport.follow("job-1", after=1) as batches:
        await journal.output(OutputFrame("stdout", b"early"))
        (event,) = await anext(aiter(batches))
        assert event.type == "output"
        await journal.finish(finished(now))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from(["stdout", "stderr"]), st.binary(max_size=9) | st.text(max_size=5).map(str.encode)
        ),
        max_size=12,
    )
)
async def test_no_byte_is_lost_or_doubled_however_it_was_cut(frames, delivery_of, now):
    """Random bytes in random pieces come back stream by stream."""
    from schemas.digest import digest_of
    from schemas.wire import decode_event, encode

    transport = MemoryTransport(MemoryBroker(), DeliveryPolicy())
    begun = await transport.begin(delivery_of(encode(COMMAND)), COMMAND, digest_of(COMMAND))
    async with Journal(transport, begun.lease, now) as journal:
        for stream, data in frames:
            await journal.output(OutputFrame(stream, data))
            await asyncio.sleep(0)
        await journal.finish(finished(now))
    events = [decode_event(event.data) for event in await transport.read("job-1", count=1000)]
    for stream in ("stdout", "stderr"):
        assert text_of(events, stream) == b"".join(data for name, data in frames if name == stream)


async def test_a_character_is_never_split_between_two_events(transport, begin, events_of, now):
    """Its first bytes wait for the rest."""
    begun = await begin(COMMAND)
    async with Journal(transport, begun.lease, now) as journal:
        for byte in "€uro ✓".encode():
            await journal.output(OutputFrame("stdout", bytes([byte])))
            await asyncio.sleep(0.003)
        await journal.finish(finished(now))
    events = await events_of("job-1")
    assert all(event.encoding is msgspec.UNSET for event in events if isinstance(event, Output))
    assert text_of(events, "stdout").decode() == "€uro ✓"


async def test_half_a_character_at_the_very_end_is_kept_as_bytes(transport, begin, events_of, now):
    """Every byte, also those that never become text."""
    begun = await begin(COMMAND)
    async with Journal(transport, begun.lease, now) as journal:
        await journal.output(OutputFrame("stdout", b"ok\xe2\x82"))
        await journal.finish(finished(now))
    assert text_of(await events_of("job-1"), "stdout") == b"ok\xe2\x82"


async def test_an_attempt_that_lost_its_lease_writes_nothing_more(
    broker, transport, begin, delivery_of, events_of, now
):
    """The journal fails for whoever writes next, and the log stays as the new attempt left it."""
    begun = await begin(COMMAND)
    broker._executions["job-1"].lease("2-0", held_until=0)
    with pytest.raises(LeaseLost):
        async with Journal(transport, begun.lease, now) as journal:
            await journal.output(OutputFrame("stdout", b"late"))
            await asyncio.sleep(0.01)
            await journal.finish(finished(now))
    assert [type(event).__name__ for event in await events_of("job-1")] == ["Queued"]


async def test_a_broker_that_does_not_answer_holds_the_program_up(begin, transport, now):
    """Output beyond the buffer is not taken until a batch is through: memory stays bounded."""
    begun = await begin(COMMAND)
    gate = asyncio.Event()
    append = transport.append

    async def slow(lease, events):
        await gate.wait()
        await append(lease, events)

    transport.append = slow
    async with Journal(transport, begun.lease, now) as journal:
        frame = OutputFrame("stdout", b"x" * BUFFER_BYTES_MAX)
        taken = 0

        async def flood():
            nonlocal taken
            for _ in range(10):
                await journal.output(frame)
                taken += 1

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0.05)
        assert taken <= 3
        gate.set()
        await flooding
        await journal.finish(finished(now))
    assert taken == 10


async def test_a_full_log_still_takes_the_outcome_and_counts_what_it_dropped(begin, delivery_of, now):
    """Output past the bound is dropped and told; `finished` always gets in."""
    from schemas.digest import digest_of
    from schemas.wire import decode_event, encode

    transport = MemoryTransport(MemoryBroker(), DeliveryPolicy(log_entries_max=3))
    begun = await transport.begin(delivery_of(encode(COMMAND)), COMMAND, digest_of(COMMAND))
    async with Journal(transport, begun.lease, now) as journal:
        await journal.write(started(now))
        for _ in range(5):
            await journal.output(OutputFrame("stdout", b"12345"))
            await asyncio.sleep(0.005)
        await journal.finish(finished(now))
    events = [decode_event(event.data) for event in await transport.read("job-1", count=1000)]
    assert isinstance(events[-1], Finished)
    kept = len(text_of(events, "stdout"))
    assert kept + events[-1].output.dropped_bytes == 25
    assert events[-1].output.dropped_bytes > 0
