"""The life of an execution, every turn it can take, with a broker in memory and scripted sandboxes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from infra.stores.stored_file import FileAttributes
from infra.tasks import end_tasks
from sandboxes.fake_script import Break, Delete, Die, Echo, End, Put, Show, Wait, Write, script
from schemas.commands import CancelExecution, RunCode, SendInput
from schemas.digest import digest_of
from schemas.events import FileProduced, Finished, Output, Started
from schemas.files import InputFile
from schemas.limits import Limits
from schemas.wire import decode_event, decode_result, encode


def stdout_of(events) -> str:
    return "".join(event.data for event in events if isinstance(event, Output) and event.stream == "stdout")


def kinds(events) -> list[str]:
    return [type(event).__name__ for event in events]


async def content_of(data):
    yield data


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def submit(transport, *steps, **fields) -> RunCode:
    command = RunCode(**{"id": "job-1", "language": "py", "code": script(*steps), **fields})
    await transport.submit(command, digest_of(command))
    return command


async def log_of(transport, execution_id="job-1"):
    async with asyncio.timeout(20), transport.follow(execution_id) as batches:
        events = [event async for batch in batches for event in batch]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [decode_event(event.data) for event in events]


async def test_a_run_is_queued_started_heard_and_finished(run, sandboxes):
    """The whole paragraph of run_code.py, once."""
    events = await run(Write("hello\n"), End(3))
    assert kinds(events) == ["Queued", "Started", "Output", "Finished"]
    assert stdout_of(events) == "hello\n"
    last = events[-1]
    assert (last.outcome, last.exit_code, last.attempt, last.stage) == ("exited", 3, 1, "run")
    assert last.output.stdout_bytes == 6
    await until(lambda: not sandboxes.open)


async def test_the_entry_is_acknowledged_and_the_result_published_with_its_tenant(run, broker):
    """Whoever cares reads the results stream."""
    events = await run(End(), tenant="acme", reply_to="my:replies")
    await until(lambda: not broker.entries)
    (line,) = broker.results
    result = decode_result(line)
    assert (result.tenant, result.execution_id) == ("acme", events[0].execution_id)
    (reply,) = broker.replies["my:replies"]
    assert decode_event(reply) == events[-1]


async def test_an_alias_of_a_language_is_told_by_its_code(run):
    """`python` is `py` in `started`."""
    events = await run(End(), language="Python")
    assert events[1].language == "py"


async def test_code_that_does_not_build_is_a_good_answer(run):
    """Stage `build`, its message on stderr, outcome `exited`."""
    events = await run(code="no step\n")
    assert (events[-1].outcome, events[-1].stage, events[-1].exit_code) == ("exited", "build", 1)
    assert any(event.stream == "stderr" for event in events if isinstance(event, Output))


async def test_a_timeout_keeps_what_was_written(run):
    """Partial output is output."""
    events = await run(Write("so far"), Wait(), limits=Limits(timeout_s=0.05))
    assert events[-1].outcome == "timed_out"
    assert stdout_of(events) == "so far"


async def test_a_death_by_signal_names_it(run):
    """`killed` with the signal."""
    events = await run(Die("SIGSEGV"))
    assert (events[-1].outcome, events[-1].signal) == ("killed", "SIGSEGV")


async def test_files_go_in_and_what_changed_comes_out(run, files):
    """Inline and stored files are there; produced ones are stored, told and listed."""
    first = await run(Put("kept.txt", "from before"), session_id="s" * 21)
    ref = first[-1].files[0]
    stored = InputFile(name="again.txt", session_id=ref.session_id, file_id=ref.id)
    inline = InputFile(name="in/data.csv", content="a,b")
    events = await run(
        Show("again.txt"),
        Show("in/data.csv"),
        Put("out.txt", "x"),
        Delete("in/data.csv"),
        files=[stored, inline],
    )
    assert stdout_of(events) == "from beforea,b"
    last = events[-1]
    assert [file.name for file in last.files] == ["out.txt"]
    assert last.deleted_files == ["in/data.csv"]
    assert last.session_id == last.files[0].session_id
    assert [event.file for event in events if isinstance(event, FileProduced)] == last.files
    assert files.kept[last.files[0].id][1] == b"x"


async def test_a_file_of_another_tenant_is_unknown(run):
    """A reference to somebody else's file ends as if it did not exist."""
    first = await run(Put("secret.txt", "theirs"), tenant="acme")
    ref = first[-1].files[0]
    stolen = InputFile(name="x", session_id=ref.session_id, file_id=ref.id)
    events = await run(Show("x"), files=[stolen], tenant="mallory")
    assert kinds(events) == ["Queued", "Finished"]
    assert events[-1].outcome == "rejected" and "files[0]" not in stdout_of(events)


async def test_a_store_that_is_away_when_an_input_is_read_ends_the_run_at_once(run, files):
    """Nobody waits for a lease to run out; what came before is said."""
    first = await run(Put("data.csv", "old"), session_id="s" * 21)
    ref = first[-1].files[0]
    files.away = True
    put = InputFile(name="in.csv", session_id=ref.session_id, file_id=ref.id)
    events = await run(Write("never"), files=[put])
    assert (events[-1].outcome, events[-1].attempt) == ("lost", 0)
    assert "in.csv" in events[-1].message and "away" in events[-1].message


async def test_a_changed_input_is_an_output_that_says_where_it_comes_from(run):
    """A new file, in this session; the old one stays as it was."""
    first = await run(Put("data.csv", "old"), session_id="s" * 21)
    ref = first[-1].files[0]
    put = InputFile(name="in.csv", session_id=ref.session_id, file_id=ref.id)
    events = await run(Put("in.csv", "new"), Put("out.csv", "x"), files=[put])
    changed, made = events[-1].files
    assert (changed.name, changed.modified_from.id, made.name) == ("in.csv", ref.id, "out.csv")
    assert changed.id != ref.id and not made.modified_from


async def test_a_read_only_input_is_never_an_output(run, files):
    """Not even when the code changed it."""
    attributes = FileAttributes(read_only=True)
    ref = await files.save("default", "s" * 21, "SKILL.md", content_of(b"x"), attributes)
    put = InputFile(name="SKILL.md", session_id=ref.session_id, file_id=ref.id)
    events = await run(Put("SKILL.md", "changed"), Put("out.txt", "x"), files=[put])
    assert [file.name for file in events[-1].files] == ["out.txt"]
    assert files.kept[ref.id][1] == b"x"


async def test_a_store_that_is_away_costs_the_file_and_not_the_run(run, files):
    """The outcome stays good and says which file was not kept."""
    files.away = True
    events = await run(Put("out.txt", "x"), Write("done"))
    assert events[-1].outcome == "exited"
    assert "out.txt" in events[-1].message and "away" in events[-1].message
    assert [(file.name, file.reason) for file in events[-1].files_not_kept] == [
        ("out.txt", "The store is away")
    ]
    assert events[-1].files == []


async def test_input_that_comes_while_it_runs_reaches_it(run, transport, registry, sandboxes):
    """A program waits for a line, and gets it."""
    running = asyncio.create_task(run(Write("?"), Echo("line"), id="job-1"))
    await until(lambda: sandboxes.acquired)
    await transport.send(SendInput(execution_id="job-1", data="42\n"))
    assert stdout_of(await running) == "?42\n"


async def test_input_that_comes_before_the_handler_is_not_lost(transport, handler, registry):
    """It waits with the execution and is read first."""
    await submit(transport, Echo("all"))
    await transport.send(SendInput(execution_id="job-1", data="early "))
    await transport.send(SendInput(execution_id="job-1", data="bird", eof=True))
    consuming = asyncio.create_task(transport.consume(handler.on_delivery, slots=1))
    events = await log_of(transport)
    transport.drain()
    await consuming
    assert stdout_of(events) == "early bird"


async def test_stdin_that_is_given_is_closed_after_it(run):
    """A program that reads to the end sees the end, also of nothing."""
    assert stdout_of(await run(Echo("all"), stdin="abc")) == "abc"
    assert stdout_of(await run(Echo("all"), Write("end"), stdin="")) == "end"


async def test_a_cancel_ends_a_running_program_with_its_output(run, transport, sandboxes):
    """`cancelled`, with the reason that was given."""
    running = asyncio.create_task(run(Write("begun"), Wait(), id="job-1"))
    await until(lambda: sandboxes.acquired)
    async with transport.follow("job-1", after=2) as batches:
        await anext(aiter(batches))
    for _ in range(2):
        await transport.send(CancelExecution(execution_id="job-1", reason="no longer needed"))
    events = await running
    assert (events[-1].outcome, events[-1].message) == ("cancelled", "no longer needed")
    assert stdout_of(events) == "begun"


@pytest.mark.parametrize("is_heard", [True, False])
async def test_a_cancel_that_overtakes_the_request_never_starts(
    transport, handler, registry, sandboxes, is_heard
):
    """It costs no sandbox either where the handler lived already when it came."""
    listening = asyncio.create_task(transport.listen(registry.on_control))
    await asyncio.sleep(0)
    if not is_heard:
        await end_tasks(listening)
    await transport.send(CancelExecution(execution_id="job-1"))
    await submit(transport, Write("never"))
    consuming = asyncio.create_task(transport.consume(handler.on_delivery, slots=1))
    events = await log_of(transport)
    transport.drain()
    await consuming
    await end_tasks(listening)
    assert kinds(events) == ["Queued", "Finished"]
    assert (events[-1].outcome, events[-1].attempt) == ("cancelled", 0)
    assert (sandboxes.acquired, len(sandboxes.open)) == (0 if is_heard else 1, 0)


@pytest.mark.parametrize("is_ready", [True, False])
async def test_where_a_sandbox_is_ready_lease_and_started_are_one_step(
    run, transport, sandboxes, monkeypatch, is_ready
):
    """And two where it has to be waited for; the log tells the same."""
    append, appended = transport.append, []

    async def noted(lease, events):
        appended.extend(events)
        await append(lease, events)

    monkeypatch.setattr(transport, "append", noted)
    monkeypatch.setattr(sandboxes, "is_ready", lambda _: is_ready)
    events = await run(End(3))
    assert kinds(events) == ["Queued", "Started", "Finished"]
    assert (events[1].attempt, events[1].sandbox, events[2].attempt, events[2].exit_code) == (1, "fake", 1, 3)
    assert kinds(appended) == ([] if is_ready else ["Started"])


async def test_a_sandbox_that_was_said_to_be_ready_and_is_not_is_waited_for(run, sandboxes, monkeypatch):
    """Whatever is wrong with it is told under the lease."""
    monkeypatch.setattr(sandboxes, "is_ready", lambda _: True)
    sandboxes._sandboxes_max = 0
    events = await run(End())
    assert (kinds(events), events[-1].outcome, events[-1].attempt) == (["Queued", "Finished"], "lost", 0)


async def test_a_deadline_that_passed_costs_no_sandbox(run, sandboxes):
    """`expired`, never started."""
    events = await run(End(), deadline=datetime.now(UTC) - timedelta(seconds=1))
    assert kinds(events) == ["Queued", "Finished"]
    assert (events[-1].outcome, sandboxes.acquired) == ("expired", 0)


async def test_a_deadline_that_passes_while_no_sandbox_is_free_expires(run, handler, sandboxes):
    """Waiting for a sandbox is waiting too."""
    sandboxes._sandboxes_max = 0
    handler._taker._patience_s = 30.0
    events = await run(End(), deadline=datetime.now(UTC) + timedelta(seconds=0.2))
    assert events[-1].outcome == "expired"


async def test_no_sandbox_within_patience_is_told_and_not_waited_for_in_silence(run, sandboxes):
    """`lost`, naming what could not be had."""
    sandboxes._sandboxes_max = 0
    events = await run(End())
    assert events[-1].outcome == "lost"
    assert "sandbox" in events[-1].message.lower()


async def test_a_language_that_is_not_here_is_rejected_by_name(run, sandboxes):
    """With what to install, as the sandboxes say it."""
    sandboxes._missing = frozenset({"rs"})
    events = await run(End(), language="rs")
    assert (kinds(events), events[-1].outcome) == (["Queued", "Finished"], "rejected")
    assert "rs" in events[-1].message


@pytest.mark.parametrize("retry", ["never", "if_not_started"])
async def test_a_sandbox_that_breaks_while_the_code_runs_is_lost(run, retry, sandboxes):
    """Started code does not run twice unless asked for."""
    events = await run(Write("so far"), Break(), retry=retry)
    assert events[-1].outcome == "lost"
    assert stdout_of(events) == "so far"
    assert sandboxes.acquired == 1


async def test_a_sandbox_that_always_breaks_is_tried_as_often_as_allowed(run, sandboxes, policy):
    """`retry: always` gives it a fresh sandbox each time, and readers see each attempt."""
    events = await run(Break(), retry="always")
    attempts = [event.attempt for event in events if isinstance(event, Started)]
    assert attempts == list(range(1, policy.attempts_max + 1))
    assert (events[-1].outcome, sandboxes.acquired) == ("lost", policy.attempts_max)


async def test_a_request_that_breaks_a_rule_is_rejected_in_its_own_log(run, broker, sandboxes):
    """Whoever follows it hears the field."""
    events = await run(language="cobol", code="x")
    assert (events[-1].outcome, sandboxes.acquired) == ("rejected", 0)
    assert events[-1].message.startswith("language: ")
    assert not broker.dead


async def test_a_message_that_cannot_be_read_is_a_dead_letter_and_a_rejected_result(
    consuming, broker, transport
):
    """With the reason in both."""
    broker.publish(b'{"id":"job-1","language":1,"code":"x"}')
    events = await log_of(transport)
    assert events[-1].outcome == "rejected"
    await until(lambda: broker.dead and not broker.entries)
    assert "language" in next(iter(broker.dead.values())).reason
    assert decode_result(broker.results[0]).outcome == "rejected"


async def test_what_nobody_can_answer_is_only_a_dead_letter(consuming, broker):
    """And the handler goes on."""
    broker.publish(b"\xff\xfe")
    await until(lambda: broker.dead and not broker.entries)
    assert not broker.results


async def test_an_id_that_was_used_for_another_body_is_rejected_without_touching_the_first(
    run, broker, transport
):
    """The first log stays as it is; the second publisher hears it on the results stream."""
    first = await run(Write("mine"), id="job-1")
    other = RunCode(language="py", code=script(Write("other")), id="job-1")
    broker.publish(encode(other))
    await until(lambda: not broker.entries)
    assert await log_of(transport) == first
    assert [decode_result(line).outcome for line in broker.results] == ["exited", "rejected"]


async def test_the_same_request_published_twice_runs_once(consuming, broker, transport, sandboxes):
    """The id is the idempotency key, also for bare publishers."""
    body = encode(RunCode(language="py", code=script(Write("once")), id="job-1"))
    for _ in range(3):
        broker.publish(body)
    events = await log_of(transport)
    await until(lambda: not broker.entries)
    assert stdout_of(events) == "once"
    assert (sandboxes.acquired, len(broker.results)) == (1, 1)


async def test_an_error_of_our_own_ends_the_run_as_lost_without_its_details(run, files, monkeypatch):
    """Nobody waits for a lease to run out, and no trace reaches a client."""

    async def fail(*_, **__):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(files, "save", fail)
    events = await run(Put("out.txt", "x"))
    assert events[-1].outcome == "lost"
    assert "secret" not in events[-1].message and "Millrace" in events[-1].message


async def test_our_own_shutdown_ends_what_runs_as_lost_and_not_as_cancelled(run, registry, sandboxes):
    """Nobody asked for it."""
    running = asyncio.create_task(run(Wait()))
    await until(lambda: len(registry) and sandboxes.open)
    await asyncio.sleep(0.02)
    await registry.interrupt_all("The handler was shut down.")
    events = await running
    assert events[-1].outcome == "lost"
    assert "shut down" in events[-1].message


async def test_losing_the_lease_stops_the_work_at_once(broker, handler, transport, sandboxes, registry):
    """The sandbox is gone, and nothing more was written."""
    await submit(transport, Write("begun"), Wait())
    consuming = asyncio.create_task(transport.consume(handler.on_delivery, slots=1))
    async with transport.follow("job-1", after=2) as batches:
        await anext(aiter(batches))
    broker._executions["job-1"].lease("other", held_until=broker.clock() + 60)
    running = registry._running["job-1"]
    await running._sandbox.cancel()
    await until(lambda: not sandboxes.open)
    transport.drain()
    await consuming
    events = [decode_event(event.data) for event in await transport.read("job-1")]
    assert not any(isinstance(event, Finished) for event in events)
    assert broker.entries, "the entry stays for whoever holds the lease now"


async def test_outputs_of_a_full_session_are_kept_beside_it_where_it_is_only_a_thread_of_runs(run, files):
    """A chat that goes on for long does not lose its files; a session that was opened has its limit."""
    files.full.add("chat")
    events = await run(Put("out.txt", "x"), id="own", session_id="chat", session_unlisted=True)
    assert [file.session_id for file in events[-1].files] == ["own"]
    assert events[-1].session_id == "chat"
    events = await run(Put("out.txt", "x"), session_id="chat")
    assert [file.reason for file in events[-1].files_not_kept] == ["The session is full"]
