"""Executions that call tools: asked in the log, answered on the control stream, by whoever is there."""

import asyncio

import pytest

from handlers.running import Registry
from sandboxes.fake_script import Break, Call, Write, script
from schemas.commands import CancelExecution, ResolveToolCalls, RunCode, Tool, ToolResult
from schemas.digest import digest_of
from schemas.events import Finished, Output, ToolCallsRequested
from schemas.wire import decode_event

TOOLS = [Tool(name="look"), Tool(name="find")]


async def submit(transport, *steps, **fields) -> None:
    command = RunCode(**{"id": "job", "language": "py", "code": script(*steps), "tools": TOOLS, **fields})
    await transport.submit(command, digest_of(command))


async def dialogue(transport, answer):
    """Follow the execution to its end; `answer` gets each list of calls. Returns the events."""
    events = []
    async with asyncio.timeout(20), transport.follow("job") as batches:
        async for batch in batches:
            for event in map(decode_event, (logged.data for logged in batch)):
                events.append(event)
                if isinstance(event, ToolCallsRequested):
                    await answer(event.calls)
    return events


def stdout_of(events) -> str:
    return "".join(event.data for event in events if isinstance(event, Output))


async def test_calls_are_events_and_results_are_commands(transport, consuming):
    """Of one sandbox, which waits; nothing runs twice."""

    async def answer(calls):
        results = [ToolResult(call_id=call.id, result=call.input["n"]) for call in calls]
        await transport.send(ResolveToolCalls(execution_id="job", results=results))

    await submit(transport, Write("a"), Call("look", {"n": 1}, times=3), Call("find", {"n": 2}), Write("z"))
    events = await dialogue(transport, answer)
    kinds = [type(event).__name__ for event in events]
    assert kinds.count("ToolCallsRequested") == 2
    assert kinds.count("Started") == 1
    assert stdout_of(events) == "a1\n1\n1\n2\nz"
    assert events[-1].outcome == "exited"


async def test_a_result_that_comes_twice_or_for_nothing_changes_nothing(transport, consuming):
    async def answer(calls):
        for call_id, result in (("call_stray", 0), (calls[0].id, 1), (calls[0].id, 2)):
            results = [ToolResult(call_id=call_id, result=result)]
            await transport.send(ResolveToolCalls(execution_id="job", results=results))

    await submit(transport, Call("look"), Call("look"))
    assert stdout_of(await dialogue(transport, answer)) == "1\n1\n"


async def test_one_that_waits_for_a_tool_can_be_cancelled(transport, consuming):
    async def answer(_calls):
        await transport.send(CancelExecution(execution_id="job", reason="enough"))

    await submit(transport, Call("look"), Write("never"))
    events = await dialogue(transport, answer)
    assert (events[-1].outcome, events[-1].message, stdout_of(events)) == ("cancelled", "enough", "")


class TestWithoutPatience:
    @pytest.fixture
    def registry(self):
        return Registry(tool_idle_s=0.2)

    async def test_whom_nobody_answers_is_cancelled(self, transport, consuming, sandboxes):
        async def answer(_calls):
            """Be gone."""

        await submit(transport, Call("look"), Write("never"))
        last = (await dialogue(transport, answer))[-1]
        assert isinstance(last, Finished)
        assert last.outcome == "cancelled"
        assert last.message == "No result of a tool call came for 0.2 seconds."
        async with asyncio.timeout(20):
            while sandboxes.open:
                await asyncio.sleep(0.005)


async def test_another_attempt_makes_calls_of_its_own(transport, consuming):
    """A result that was meant for the first attempt is none for the second."""
    seen = []

    async def answer(calls):
        seen.append(calls[0].id)
        results = [ToolResult(call_id=call_id, result=len(seen)) for call_id in seen]
        await transport.send(ResolveToolCalls(execution_id="job", results=results))

    await submit(transport, Call("look"), Break(), retry="always")
    events = await dialogue(transport, answer)
    assert events[-1].outcome == "lost"
    assert len(set(seen)) == len(seen) == 3
    assert stdout_of(events) == "1\n2\n3\n"


async def test_tools_of_a_language_that_cannot_call_them_are_refused(transport, consuming):
    async def answer(_calls):
        raise AssertionError("nothing ran")

    await submit(transport, Call("look"), language="go")
    last = (await dialogue(transport, answer))[-1]
    assert (last.outcome, last.message) == ("rejected", "tools: Tools can be called in py and bash only.")
