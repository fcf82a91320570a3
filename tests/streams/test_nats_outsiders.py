"""What outsiders with a plain NATS client may rely on, and may do wrong."""

import asyncio
from typing import Any

import pytest

from infra.tasks import end_tasks
from schemas.commands import CancelExecution, SendInput
from schemas.ids import ExecutionId
from schemas.wire import decode_event, encode
from streams.topology import Subjects, tokens
from tests.streams.conftest import NatsWorld
from tests.streams.helpers import (
    begin,
    command,
    consuming,
    eventually,
    run_to_the_end,
    submit,
    take,
    types,
    whole_log,
)
from tests.streams.test_control import listening, next_about

JOB = ExecutionId("job-1")


async def test_an_outsider_needs_nothing_but_publish_and_subscribe(nats_world: NatsWorld) -> None:
    """One publication starts it; a consumer on the subject of its log reads it, one event a message."""
    handler, outsider, names = await nats_world.transport(), await nats_world.outsider(), nats_world.names
    await outsider.publish(names.requests, b'{"language":"py","code":"print(6*7)","id":"job-1"}')
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery, "42\n")):
        await whole_log(handler, JOB)
        reader = await outsider.jetstream().subscribe(names.log(JOB), ordered_consumer=True)
        events = [decode_event((await reader.next_msg(timeout=20)).data) for _ in range(4)]
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert [event.__struct_config__.tag for event in events] == ["queued", "started", "output", "finished"]


@pytest.mark.parametrize("name", ["a.b:c-d_E", "a..b", ".a", "a.", "...", "x" * 128, "a.b.c.d"])
async def test_any_id_has_a_subject_that_outsiders_can_tell(nats_world: NatsWorld, name: str) -> None:
    """As it is, unless its dots would leave a token empty."""
    transport, outsider = await nats_world.transport(), await nats_world.outsider()
    subject = f"{nats_world.config.prefix}millrace.log.{tokens(ExecutionId(name))}"
    async with consuming(transport, lambda delivery: run_to_the_end(transport, delivery)):
        await submit(transport, command(name))
        assert types(await whole_log(transport, name)) == ["queued", "started", "finished"]
        last = await outsider.jetstream().get_last_msg(nats_world.names.stream("LOG"), subject)
        assert decode_event(last.data or b"").seq == 3
    if ".." not in f".{name}.":
        assert subject.endswith(f"millrace.log.{name}")


def test_no_id_shares_its_subjects_with_another() -> None:
    """Whatever matches both subjects of one execution matches none of another."""
    subjects = Subjects("team.")
    ids = ["a", "a.b", "b", "a..b", "a%2Eb", "log.a", "record.a", "live.log.a"]
    logs = {subjects.log(ExecutionId(name)) for name in ids}
    assert len(logs) == len(ids)
    for name in ids:
        pattern = subjects.both(ExecutionId(name)).split(".")
        matching = [log for log in logs if _matches(pattern, log.split("."))]
        assert matching == [subjects.log(ExecutionId(name))]


def _matches(pattern: list[str], subject: list[str]) -> bool:
    pairs = zip(pattern, subject, strict=False)
    return len(pattern) == len(subject) and all(want in ("*", have) for want, have in pairs)


async def test_a_command_published_bare_is_put_into_the_mail_and_heard(nats_world: NatsWorld) -> None:
    """One handler files it under its execution; all hear it."""
    handler, outsider, names = await nats_world.transport(), await nats_world.outsider(), nats_world.names
    async with listening(handler) as heard:
        await outsider.jetstream().publish(names.control, encode(CancelExecution(execution_id=JOB)))
        await outsider.jetstream().publish(
            names.control_of(JOB), encode(SendInput(execution_id=JOB, data="x"))
        )
        entries: set[str] = set()
        while len(entries) < 2:
            entries.add((await next_about(heard, JOB)).entry)
    await submit(handler, command())
    begun = await begin(handler, await take(handler))
    assert {type(control.command) for control in begun.mail} == {CancelExecution, SendInput}  # type: ignore[union-attr]


async def test_a_malformed_control_message_becomes_one_dead_letter(nats_world: NatsWorld) -> None:
    """However many handlers listen, and the next command is heard."""
    handlers = [await nats_world.transport() for _ in range(3)]
    outsider, names = await nats_world.outsider(), nats_world.names
    heard: list[Any] = []

    async def hear(control: Any) -> None:
        heard.append(control)

    tasks = [asyncio.create_task(handler.listen(hear)) for handler in handlers]
    try:
        for body in (b'{"type":"cancel_execution"}', b'{"type":"cancel_execution","execution_id":"no *"}'):
            await outsider.jetstream().publish(names.control, body)

        async def two_letters() -> bool:
            return len(await nats_world.dead()) == 2

        await eventually(two_letters, "the letters")

        async def all_hear() -> bool:
            await handlers[0].send(CancelExecution(execution_id=JOB))
            return len(heard) >= 9

        await eventually(all_hear, "a command after them")
    finally:
        await end_tasks(*tasks)
    assert all("execution_id" in letter["reason"] for letter in await nats_world.dead())


@pytest.mark.parametrize("reply_to", ["no subject", "wild.*", "$JS.API.STREAM.PURGE.x", "a..b"])
async def test_a_reply_that_has_no_subject_harms_nobody(nats_world: NatsWorld, reply_to: str) -> None:
    """`reply_to` is the publisher's choice; the result is published all the same."""
    edge = await nats_world.transport()
    await submit(edge, command(reply_to=reply_to))
    async with consuming(edge, lambda delivery: run_to_the_end(edge, delivery)):
        await whole_log(edge, JOB)
    assert len(await nats_world.results()) == 1
    assert (await edge.depth()).pending == 0


async def test_a_reply_reaches_who_only_subscribed(nats_world: NatsWorld) -> None:
    """An inbox is enough; no stream need have the subject."""
    edge, outsider = await nats_world.transport(), await nats_world.outsider()
    inbox = outsider.new_inbox()
    waiting = await outsider.subscribe(inbox)
    await outsider.flush()
    await submit(edge, command(reply_to=inbox))
    async with consuming(edge, lambda delivery: run_to_the_end(edge, delivery)):
        event = decode_event((await waiting.next_msg(timeout=20)).data)
    assert event.execution_id == JOB


async def test_a_late_reader_of_a_long_log_gets_what_it_asked_for(nats_world: NatsWorld) -> None:
    """Anywhere in the middle, among the events of others."""
    edge, handler = await nats_world.transport(), await nats_world.transport()

    async def chatter(delivery: Any) -> None:
        await run_to_the_end(handler, delivery, *map(str, range(300)))

    async with consuming(handler, chatter):
        await submit(edge, command("job-1"))
        await submit(edge, command("job-2"))
        for name in ("job-1", "job-2"):
            assert len(await whole_log(edge, name)) == 303
    for after in (0, 1, 127, 128, 129, 250, 301, 302):
        assert [event.seq for event in await whole_log(edge, "job-1", after)] == list(range(after + 1, 304))
        assert [event.seq for event in await edge.read(JOB, after, 2)] == [after + 1, after + 2][
            : 303 - after
        ]
