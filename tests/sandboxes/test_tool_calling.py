"""Programs that call tools, over every body: what they ask, what they get, and what their clock does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from sandboxes.fake_script import Call, Put, Wait, Write
from sandboxes.protocol import Exit, OutputFrame, Program, Sandbox, ToolCalls
from schemas.commands import Tool, ToolResult
from schemas.events import ToolCall
from schemas.limits import TOOL_CALLS_MAX, TOOL_RESULT_BYTES_MAX
from tests.sandboxes.bodies import Body

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOOLS = [Tool(name="get-weather"), Tool(name="other")]
Answer = Callable[[Sandbox, Sequence[ToolCall]], Awaitable[None]]


async def say_where(sandbox: Sandbox, calls: Sequence[ToolCall]) -> None:
    await sandbox.resolve([ToolResult(call_id=call.id, result={"in": call.input}) for call in calls])


async def nothing(_sandbox: Sandbox, _calls: Sequence[ToolCall]) -> None:
    """Let it wait."""


async def run(
    body: Body,
    code: str,
    answer: Answer,
    *,
    language: str = "py",
    tools: Sequence[Tool] = TOOLS,
    **limits: object,
) -> tuple[str, Exit, list[list[ToolCall]]]:
    """Run with tools; returns both outputs as one text, the exit, and the calls of each frame."""
    sandbox = await body.acquire(language, **limits)
    said, asked = "", []
    try:
        async for frame in sandbox.run(Program(code, tools=tools)):
            match frame:
                case OutputFrame(data=data):
                    said += data.decode()
                case ToolCalls(calls):
                    asked.append(list(calls))
                    await answer(sandbox, calls)
                case Exit():
                    return said, frame, asked
        raise AssertionError("there was no exit")
    finally:
        await sandbox.close()


async def test_a_call_is_told_and_its_result_returned(body: Body) -> None:
    code = body.code(Call("get-weather", {"city": "Ulm", "n": 1.5}), Write("done"))
    said, exit_, [[call]] = await run(body, code, say_where)
    assert (call.name, call.input) == ("get-weather", {"city": "Ulm", "n": 1.5})
    assert said == '{"in":{"city":"Ulm","n":1.5}}\ndone'
    assert (exit_.outcome, exit_.exit_code) == ("exited", 0)


async def test_what_was_written_before_a_call_comes_before_it(body: Body) -> None:
    heard: list[str] = []
    sandbox = await body.acquire()
    code = body.code(Write("x" * 3000 + "\n", times=10), Call("other"), Write("after"))
    async for frame in sandbox.run(Program(code, tools=TOOLS)):
        if isinstance(frame, ToolCalls):
            heard.append("calls")
            await say_where(sandbox, frame.calls)
        elif isinstance(frame, OutputFrame):
            heard.append(frame.data.decode())
    at = heard.index("calls")
    assert len("".join(heard[:at])) == 30_010
    assert "".join(heard[at + 1 :]) == '{"in":{}}\nafter'
    await sandbox.close()


async def test_calls_made_together_are_told_together(body: Body) -> None:
    said, _, asked = await run(body, body.code(Call("other", {"a": 1}, times=25)), say_where)
    assert [len(calls) for calls in asked] == [25]
    assert said == '{"in":{"a":1}}\n' * 25
    assert len({call.id for call in asked[0]}) == 25


async def test_results_may_come_one_by_one_and_in_any_order(body: Body) -> None:
    async def backwards(sandbox: Sandbox, calls: Sequence[ToolCall]) -> None:
        for call in reversed(calls):
            await sandbox.resolve([ToolResult(call_id=call.id, result=call.id)])

    said, _, [calls] = await run(body, body.code(Call("other", times=3)), backwards)
    assert said == "".join(f'"{call.id}"\n' for call in calls)


async def test_the_first_result_counts_and_unknown_ids_do_nothing(body: Body) -> None:
    async def twice(sandbox: Sandbox, calls: Sequence[ToolCall]) -> None:
        await sandbox.resolve([ToolResult(call_id="call_unknown", result="stray")])
        for result in ("first", "second"):
            await sandbox.resolve([ToolResult(call_id=calls[0].id, result=result)])

    said, _, _ = await run(body, body.code(Call("other"), Call("other")), twice)
    assert said == '"first"\n"first"\n'


async def test_a_failed_tool_raises_what_it_said(body: Body) -> None:
    async def fail(sandbox: Sandbox, calls: Sequence[ToolCall]) -> None:
        failed = ToolResult(call_id=calls[0].id, is_error=True, error_message="no such city: Ülm")
        await sandbox.resolve([failed])

    said, exit_, _ = await run(body, body.code(Call("other"), Write("goes on")), fail)
    assert said == "failed: no such city: Ülm\ngoes on"
    assert exit_.exit_code == 0


async def test_a_result_is_any_json(body: Body) -> None:
    import json

    results = [None, True, 0, "", "täxt\n", [1, [2]], {"a": None}, "x" * 300_000]
    given = iter(results)

    async def give(sandbox: Sandbox, calls: Sequence[ToolCall]) -> None:
        await sandbox.resolve([ToolResult(call_id=calls[0].id, result=next(given))])

    said, _, _ = await run(body, body.code(*(Call("other") for _ in results)), give)
    assert [json.loads(line) for line in said.splitlines()] == results


LIMITS_S = (1.0, 4.0, 16.0)
"""Where a limit is short: a machine too busy for the first one has more time with the next."""


async def test_the_clock_stands_still_while_a_tool_is_awaited(body: Body) -> None:
    async def late(sandbox: Sandbox, calls: Sequence[ToolCall]) -> None:
        await asyncio.sleep(1.2 * limit_s)
        await say_where(sandbox, calls)

    code = body.code(Call("other"), Write("in time"))
    for limit_s in LIMITS_S:
        said, exit_, _ = await run(body, code, late, timeout_s=limit_s)
        if exit_.outcome == "exited":
            break
    assert (exit_.outcome, said) == ("exited", '{"in":{}}\nin time')


async def test_the_clock_runs_again_after_the_result(body: Body) -> None:
    code = body.code(Call("other"), Wait())
    for limit_s in LIMITS_S:
        said, exit_, _ = await run(body, code, say_where, timeout_s=limit_s)
        assert exit_.outcome == "timed_out"
        if said:
            break
    assert said == '{"in":{}}\n'


async def test_a_program_that_waits_for_a_tool_can_be_cancelled(body: Body) -> None:
    async def cancel(sandbox: Sandbox, _calls: Sequence[ToolCall]) -> None:
        await sandbox.cancel()

    said, exit_, _ = await run(body, body.code(Write("so far"), Call("other"), Write("never")), cancel)
    assert (exit_.outcome, said) == ("cancelled", "so far")


async def test_results_after_the_end_do_nothing(body: Body) -> None:
    sandbox = await body.acquire()
    frames: AsyncIterator[object] = sandbox.run(Program(body.code(Write("x")), tools=TOOLS))
    assert [frame async for frame in frames]
    await sandbox.resolve([ToolResult(call_id="call_1", result=1)])
    await sandbox.close()
    await sandbox.resolve([ToolResult(call_id="call_1", result=1)])


async def test_closing_while_a_tool_is_awaited_is_safe(body: Body) -> None:
    sandbox = await body.acquire()
    frames = sandbox.run(Program(body.code(Call("other")), tools=TOOLS))
    assert isinstance(await anext(frames), ToolCalls)
    await sandbox.close()
    await frames.aclose()


async def test_more_calls_than_are_allowed_fail_without_being_told(body: Body) -> None:
    code = body.code(Call("other", times=TOOL_CALLS_MAX), Call("other"))
    said, _, asked = await run(body, code, say_where)
    assert sum(len(calls) for calls in asked) == TOOL_CALLS_MAX
    assert said.splitlines()[-1] == f"failed: A program may call tools {TOOL_CALLS_MAX} times at most."


async def test_a_result_that_is_too_large_fails_the_call(body: Body) -> None:
    async def large(sandbox: Sandbox, calls: Sequence[ToolCall]) -> None:
        await sandbox.resolve([ToolResult(call_id=calls[0].id, result="x" * TOOL_RESULT_BYTES_MAX * 2)])

    said, _, _ = await run(body, body.code(Call("other")), large)
    assert said == f"failed: The result is larger than {TOOL_RESULT_BYTES_MAX} bytes.\n"


async def test_nothing_of_it_is_among_the_files(body: Body) -> None:
    sandbox = await body.acquire()
    async for frame in sandbox.run(Program(body.code(Call("other"), Put("a.txt", "x")), tools=TOOLS)):
        if isinstance(frame, ToolCalls):
            await say_where(sandbox, frame.calls)
    assert [file.name for file in (await sandbox.changes()).produced] == ["a.txt"]
    await sandbox.close()


# Python


CITY = Tool(
    name="2 get-weather!",
    description="The weather.",
    parameters={
        "type": "object",
        "properties": {"units": {"type": "string"}, "city": {"type": "string"}},
        "required": ["city"],
    },
)


async def python(
    body: Body, code: str, *tools: Tool, **limits: object
) -> tuple[str, Exit, list[list[ToolCall]]]:
    if not body.is_real:
        pytest.skip("the fake speaks no Python")
    return await run(body, code, say_where, tools=tools or (CITY,), **limits)


async def test_parameters_are_those_of_the_schema(body: Body) -> None:
    """Required ones come first, what is left out or None is not sent, and others are unknown."""
    code = """
await _2_get_weather("Ulm", None)
await _2_get_weather(city="Ulm", units="K")
for wrong in ({}, {"city": "Ulm", "town": 1}):
    try:
        await _2_get_weather(**wrong)
    except TypeError as error:
        print(error)
print(_2_get_weather.__doc__)
"""
    said, exit_, asked = await python(body, code)
    assert exit_.exit_code == 0, said
    assert [call.input for [call] in asked] == [{"city": "Ulm"}, {"city": "Ulm", "units": "K"}]
    assert said.splitlines() == [
        "_2_get_weather() missing a required argument: 'city'",
        "_2_get_weather() got an unexpected keyword argument 'town'",
        "The weather.",
    ]


async def test_a_tool_without_parameters_takes_any(body: Body) -> None:
    said, _, [[call]] = await python(body, "print(await class_tool(a=1, b=None))", Tool(name="class"))
    assert (call.name, call.input) == ("class", {"a": 1})
    assert said == "{'in': {'a': 1}}\n"


BODIES = {
    "return": ("print(1)\nif True:\n    return\nprint(2)", "1\n"),
    "a text of many lines": ('print("""a\n  b""")\nawait asyncio.sleep(0)', "a\n  b\n"),
    "no await": ("import asyncio\nasync def f():\n    print(1)\nasyncio.run(f())", "1\n"),
    "a running loop": ("t = asyncio.create_task(asyncio.sleep(0, 5))\nprint(await t)", "5\n"),
    "indented as a whole": ("    print(1)\n    print(await asyncio.sleep(0, 2))", "1\n2\n"),
    "nonlocal": ("n = 1\ndef f():\n    nonlocal n\n    n += 1\nf()\nprint(n)", "2\n"),
    "functions see globals": (
        "n = 1\ndef f():\n    return n\nprint(f(), await asyncio.sleep(0, 2))",
        "1 2\n",
    ),
    "async for in a comprehension": (
        "async def g():\n    yield 1\nprint([x async for x in g()], [await asyncio.sleep(0, 2)])",
        "[1] [2]\n",
    ),
    "only a comment": ("# nothing\n", ""),
    "exit": ("await asyncio.sleep(0)\nimport sys\nprint(1)\nsys.exit(0)", "1\n"),
}


@pytest.mark.parametrize("name", list(BODIES))
async def test_a_program_is_the_body_of_an_async_function(body: Body, name: str) -> None:
    code, expected = BODIES[name]
    said, exit_, _ = await python(body, code)
    assert (said, exit_.exit_code) == (expected, 0)


async def test_a_traceback_begins_where_the_program_does(body: Body) -> None:
    said, exit_, _ = await python(body, "def f():\n    return 1 / 0\nawait asyncio.sleep(0)\nf()")
    assert exit_.exit_code == 1
    assert said.startswith('Traceback (most recent call last):\n  File "')
    assert "line 4" in said.splitlines()[1]
    assert said.endswith("ZeroDivisionError: division by zero\n")
    said, exit_, _ = await python(body, "print(1)\nawait (")
    assert exit_.exit_code == 1
    assert "SyntaxError" in said
    assert "tools.py" not in said


LINE = """
import os
line = 63 if os.path.exists("/proc/self/fd/63") or not os.path.exists("/proc/self/fd") else 4
"""


async def test_an_unregistered_tool_that_a_program_forges_is_not_told(body: Body) -> None:
    code = f"""{LINE}
os.write(line, b'{{"key": 9, "name": "rm", "input": {{}}}}\\n' + b"no json\\n" * 3)
print(await class_tool())
"""
    said, exit_, asked = await python(body, code, Tool(name="class"))
    assert [call.name for calls in asked for call in calls] == ["class"]
    assert (said, exit_.exit_code) == ("{'in': {}}\n", 0)


async def test_a_program_that_floods_its_line_harms_nobody(body: Body) -> None:
    code = f"""{LINE}
try:
    while True:
        os.write(line, b"x" * 60000)
except BrokenPipeError:
    print("not heard any more")
"""
    said, exit_, asked = await python(body, code, timeout_s=3.0)
    if body.name == "pods":  # the line is relayed, and nobody can hang up on a relay
        assert (exit_.outcome, asked) == ("timed_out", [])
    else:
        assert (said, exit_.outcome, asked) == ("not heard any more\n", "exited", [])


async def test_results_that_nobody_reads_are_not_kept_without_end(local: Body) -> None:
    code = f"""{LINE}
import sys
os.write(line, b"".join(b'{{"key": %d, "name": "other", "input": {{}}}}\\n' % n for n in range(20)))
sys.stdin.readline()
lines = length = failed = 0
while lines < 20:
    piece = os.read(line - 1, 1 << 16)
    lines, length, failed = lines + piece.count(b"\\n"), length + len(piece), failed + piece.count(b"error")
print(length < 48_000_000, failed)
"""
    sandbox = await local.acquire()
    said = b""
    async for frame in sandbox.run(Program(code, tools=TOOLS, keep_stdin_open=True)):
        if isinstance(frame, ToolCalls):
            for call in frame.calls:
                await sandbox.resolve([ToolResult(call_id=call.id, result="x" * 4_000_000)])
            await sandbox.send_input(b"go\n")
        elif isinstance(frame, OutputFrame):
            said += frame.data
    assert said == b"True 11\n"
    await sandbox.close()


async def test_programs_that_are_started_do_not_inherit_the_line(body: Body) -> None:
    code = "import os\nos.system('ls /proc/self/fd')"
    if body.name == "tier-D":
        pytest.skip("there is no /proc")
    said, _, _ = await python(body, code)
    assert "62" not in said
    assert "63" not in said


# the shell


async def shell(
    body: Body, code: str, answer: Answer = say_where, *names: str
) -> tuple[str, Exit, list[list[ToolCall]]]:
    if not body.is_real:
        pytest.skip("the fake speaks no shell")
    tools = [Tool(name=name) for name in names or ("get.weather", "if")]
    return await run(body, code, answer, language="bash", tools=tools)


async def test_a_tool_is_a_function_of_the_shell(body: Body) -> None:
    code = """
set -euo pipefail
: &
wait "$!"
echo "$(get_weather '{"city": "Ülm"}')" | cat
if_tool
"""
    said, exit_, asked = await shell(body, code)
    assert (said, exit_.exit_code) == ('{"in":{"city":"Ülm"}}\n{"in":{}}\n', 0)
    assert [(call.name, call.input) for [call] in asked] == [("get.weather", {"city": "Ülm"}), ("if", {})]


async def test_texts_are_printed_raw_and_failures_have_a_status(body: Body) -> None:
    async def answer(sandbox: Sandbox, calls: Sequence[ToolCall]) -> None:
        for call in calls:
            ok = call.name == "if"
            result = ToolResult(
                call_id=call.id, result='a "text"\n' if ok else None, is_error=not ok, error_message="no"
            )
            await sandbox.resolve([result])

    code = """if_tool; get_weather '{}' || echo "status $?"; get_weather '[1]' || echo "status $?"; exit 7"""
    said, exit_, _ = await shell(body, code, answer)
    advice = """get.weather takes one argument, a JSON object such as '{"key": "value"}'."""
    assert sorted(said.splitlines()) == sorted(['a "text"', "", "no", "status 1", "status 1", advice])
    assert exit_.exit_code == 7


async def test_background_jobs_call_side_by_side(body: Body) -> None:
    waiting: list[ToolCall] = []

    async def when_all_are_there(sandbox: Sandbox, calls: Sequence[ToolCall]) -> None:
        waiting.extend(calls)
        if len(waiting) == 5:
            await say_where(sandbox, waiting)

    code = """for i in 1 2 3 4 5; do { r=$(if_tool "{\\"n\\": $i}"); echo "$r"; } & done; wait; echo done"""
    said, exit_, _ = await shell(body, code, when_all_are_there)
    assert sorted(said.splitlines()) == sorted([*(f'{{"in":{{"n":{n}}}}}' for n in range(1, 6)), "done"])
    assert exit_.exit_code == 0


@pytest.mark.parametrize("ending", ["kill -TERM $$", "kill -KILL $$"])
async def test_a_shell_that_is_killed_is_told_so(body: Body, ending: str) -> None:
    _, exit_, _ = await shell(body, f"if_tool; {ending}")
    assert (exit_.outcome, exit_.signal) == ("killed", "SIG" + ending.split("-")[1][:4].strip())


async def test_arguments_and_name_of_the_script_are_as_ever(body: Body) -> None:
    said, exit_, _ = await shell(body, 'set -u\necho "$#"\nif_tool >/dev/null\ncd /nowhere')
    assert said.splitlines()[0] == "0"
    assert "main.sh: line 4: cd: /nowhere" in said
    assert exit_.exit_code == 1
