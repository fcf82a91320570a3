"""What every sandbox promises, whatever it is made of."""

import asyncio
from contextlib import aclosing

import pytest

from infra.errors import RequestRefused
from sandboxes.fake_script import Break, Delete, Die, Echo, End, Put, Show, Tell, Wait, Write
from sandboxes.protocol import Exit, OutputFrame, Program, SandboxFailed, SandboxSpec
from tests.sandboxes.bodies import LIMITS, Body, finish, pieces

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize("code", [0, 1, 3, 124, 137, 139, 143, 255])
async def test_every_exit_code_is_told_as_it_is(body: Body, code: int) -> None:
    """Codes that shells use for signals are no signals here."""
    result = await body.steps(End(code))
    assert (result.exit.outcome, result.exit.exit_code, result.exit.signal) == ("exited", code, None)
    assert result.exit.stage == "run"


async def test_a_program_that_runs_off_its_end_has_exit_code_0(body: Body) -> None:
    result = await body.steps(Write("done"))
    assert (result.exit.exit_code, result.stdout) == (0, b"done")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGTERM", "SIGKILL", "SIGABRT"])
async def test_a_signal_is_told_by_name(body: Body, name: str) -> None:
    result = await body.steps(Write("before"), Die(name))
    assert (result.exit.outcome, result.exit.signal, result.exit.exit_code) == ("killed", name, None)
    assert name in result.exit.message
    assert result.stdout == b"before"


async def test_stdout_and_stderr_keep_their_order_each(body: Body) -> None:
    steps = [Write(f"{turn}\n", stream=stream) for turn in range(50) for stream in ("stdout", "stderr")]
    result = await body.steps(*steps)
    expected = "".join(f"{turn}\n" for turn in range(50)).encode()
    assert (result.stdout, result.stderr) == (expected, expected)
    assert result.exit.output.stdout_bytes == result.exit.output.stderr_bytes == len(expected)


async def test_output_is_exact_to_the_byte(body: Body) -> None:
    import base64

    result = await body.steps(Write(base64=base64.b64encode(EVERY_BYTE).decode(), times=300))
    assert result.stdout == EVERY_BYTE * 300


async def test_output_comes_while_the_program_runs(body: Body) -> None:
    sandbox = await body.acquire()
    code = body.code(Write("first"), Wait(), Write("never"))
    async with aclosing(sandbox.run(Program(code))) as frames:
        first = await anext(frames)
    assert first == OutputFrame("stdout", b"first")
    await sandbox.close()


async def test_stdin_is_what_was_given_and_then_ends(body: Body) -> None:
    result = await body.steps(Echo(), stdin=EVERY_BYTE * 2000)
    assert result.stdout == EVERY_BYTE * 2000


async def test_stdin_that_nobody_reads_hinders_nobody(body: Body) -> None:
    result = await body.steps(Write("done"), stdin=b"x" * 1_000_000)
    assert (result.exit.exit_code, result.stdout) == (0, b"done")


async def test_a_running_program_can_be_talked_to(body: Body) -> None:
    sandbox = await body.acquire()
    code = body.code(Write("name?\n"), Echo("line"), Write("more?\n"), Echo())
    heard = b""
    async for frame in sandbox.run(Program(code, keep_stdin_open=True)):
        if isinstance(frame, Exit):
            assert frame.exit_code == 0
            break
        heard += frame.data
        if heard == b"name?\n":
            await sandbox.send_input(b"Ada\n")
        if heard == b"name?\nAda\nmore?\n":
            await sandbox.send_input(b"this ")
            await sandbox.send_input(b"and that", eof=True)
    assert heard == b"name?\nAda\nmore?\nthis and that"
    await sandbox.send_input(b"too late")
    await sandbox.close()


async def test_input_sent_early_follows_what_the_program_starts_with(body: Body) -> None:
    sandbox = await body.acquire()
    await sandbox.send_input(b"second", eof=True)
    program = Program(body.code(Echo()), stdin=b"first ", keep_stdin_open=True)
    assert (await finish(sandbox, program)).stdout == b"first second"
    await sandbox.close()


async def test_arguments_arrive_as_they_are(body: Body) -> None:
    args = ["-x", "two words", "", "ünï", "$HOME", "'\""]
    result = await body.steps(Tell("args"), args=args)
    assert result.stdout.decode().split("\n")[:-1] == args


async def test_the_environment_holds_what_was_given(body: Body) -> None:
    result = await body.steps(Tell("env"), env={"MY_NAME": "Ada = L", "EMPTY": ""})
    lines = result.stdout.decode().splitlines()
    assert {"MY_NAME=Ada = L", "EMPTY="} <= set(lines)


async def test_a_timeout_keeps_what_was_written(body: Body) -> None:
    result = await body.steps(Write("so far"), Wait(), timeout_s=0.5)
    assert (result.exit.outcome, result.stdout) == ("timed_out", b"so far")
    assert "0.5 s" in result.exit.message
    assert result.exit.wall_s >= 0.5


async def test_a_cancelled_run_keeps_what_was_written(body: Body) -> None:
    sandbox = await body.acquire()
    frames = [frame async for frame in _cancelling_at_first_output(body, sandbox)]
    assert frames[0] == OutputFrame("stdout", b"so far")
    assert isinstance(frames[-1], Exit)
    assert frames[-1].outcome == "cancelled"
    await sandbox.close()


async def _cancelling_at_first_output(body, sandbox):
    async for frame in sandbox.run(Program(body.code(Write("so far"), Wait()))):
        if isinstance(frame, OutputFrame):
            await sandbox.cancel()
        yield frame


async def test_a_cancel_before_the_run_runs_nothing(body: Body) -> None:
    sandbox = await body.acquire()
    await sandbox.cancel()
    result = await finish(sandbox, Program(body.code(Put("made.txt", "x"), Wait())))
    assert (result.exit.outcome, result.files) == ("cancelled", {})
    await sandbox.close()


async def test_output_beyond_the_limit_is_counted_and_the_program_ends_normally(body: Body) -> None:
    result = await body.steps(
        Write("x" * 1000, times=500), Write("y", stream="stderr"), output_bytes_max=5000
    )
    assert (result.exit.outcome, result.exit.exit_code) == ("exited", 0)
    assert (result.stdout, result.stderr) == (b"x" * 5000, b"")
    count = result.exit.output
    assert (count.stdout_bytes, count.stderr_bytes, count.dropped_bytes) == (500_000, 1, 495_001)


async def test_no_output_at_all_may_be_wanted(body: Body) -> None:
    result = await body.steps(Write("x"), output_bytes_max=0)
    assert (result.stdout, result.exit.output.dropped_bytes) == (b"", 1)


async def test_a_program_waits_for_a_slow_reader_and_loses_nothing(body: Body) -> None:
    sandbox = await body.acquire()
    heard = 0
    async for frame in sandbox.run(Program(body.code(Write("x" * 10_000, times=60)))):
        await asyncio.sleep(0)
        heard += len(frame.data) if isinstance(frame, OutputFrame) else 0
    assert heard == 600_000
    await sandbox.close()


async def test_files_go_in_and_what_changed_comes_out(body: Body) -> None:
    given = {"kept.txt": b"kept", "in/changed.txt": b"old", "gone.txt": b"gone", "all.bin": EVERY_BYTE * 50}
    result = await body.steps(
        Show("kept.txt"),
        Put("in/changed.txt", "new"),
        Put("out/new.txt", "made"),
        Delete("gone.txt"),
        files=given,
    )
    assert result.stdout == b"kept"
    assert result.files == {"in/changed.txt": b"new", "out/new.txt": b"made"}
    assert [(file.name, file.size_bytes) for file in result.changes.produced] == [
        ("in/changed.txt", 3),
        ("out/new.txt", 4),
    ]
    assert result.changes.deleted == ["gone.txt"]
    assert result.changes.skipped == []


async def test_a_file_put_in_twice_is_what_it_was_last(body: Body) -> None:
    sandbox = await body.acquire()
    await sandbox.put_file("a.txt", pieces(b"a long first version"))
    await sandbox.put_file("a.txt", pieces(b"short"))
    result = await finish(sandbox, Program(body.code(Show("a.txt"))))
    assert result.stdout == b"short"
    await sandbox.close()


@pytest.mark.parametrize("name", ["../up.txt", "/etc/absolute", "a/../../b", "", "nul\0l", "a//b"])
async def test_a_name_that_leads_elsewhere_is_refused(body: Body, name: str) -> None:
    sandbox = await body.acquire()
    with pytest.raises(RequestRefused, match="file name"):
        await sandbox.put_file(name, pieces(b"x"))
    await sandbox.close()


async def test_what_programs_leave_for_themselves_is_no_output_and_takes_no_place(body: Body) -> None:
    """Hidden folders and Python's caches, unless it was put there; a hidden file is a file."""
    left = [
        ".cache/a",
        "lib/__pycache__/a.pyc",
        "lib/__pycache__/b.pyc",
        ".conf/x.ini",
        ".hidden",
        "out/b.txt",
    ]
    result = await body.steps(
        *(Put(name, "new") for name in left), files={".conf/x.ini": b"old"}, files_max=3
    )
    assert [file.name for file in result.changes.produced] == [".conf/x.ini", ".hidden", "out/b.txt"]
    assert result.changes.skipped == []


async def test_more_files_than_are_kept_are_named(body: Body) -> None:
    result = await body.steps(*(Put(f"f{number}", "x") for number in range(5)), files_max=3)
    assert sorted(result.files) == ["f0", "f1", "f2"]
    assert [name for name, _ in result.changes.skipped] == ["f3", "f4"]


async def test_a_broken_program_fails_in_some_stage_with_an_exit_code(body: Body) -> None:
    result = await body.run("this is no program ((")
    assert (result.exit.outcome, result.exit.exit_code) == ("exited", 1)
    assert result.stderr


async def test_usage_is_told(body: Body) -> None:
    result = await body.steps(Write("x"))
    assert result.exit.wall_s > 0
    if body.is_real:
        assert 0 < result.exit.cpu_s < 5
        assert LITTLE < result.exit.memory_bytes_peak < LIMITS.memory_bytes_max


LITTLE = 256 * 1024
"""Of what a warm interpreter shares with others nothing counts: only what it had to copy."""


async def test_a_sandbox_runs_once(body: Body) -> None:
    sandbox = await body.acquire()
    program = Program(body.code(End(0)))
    await finish(sandbox, program)
    with pytest.raises(RuntimeError, match="once"):
        await finish(sandbox, program)
    await sandbox.close()


async def test_closing_is_safe_at_any_moment_and_twice(body: Body) -> None:
    unused = await body.acquire()
    await unused.close()
    await unused.close()
    running = await body.acquire()
    frames = running.run(Program(body.code(Write("x"), Wait())))
    await anext(frames)
    await running.close()
    await running.close()
    await frames.aclose()


async def test_two_sandboxes_share_nothing(body: Body) -> None:
    first = await body.steps(Put("secret.txt", "x"))
    assert first.files
    second = await body.steps(Write("nothing here"))
    assert second.files == {}


async def test_twenty_at_once_all_end_right(body: Body) -> None:
    results = await asyncio.gather(
        *(body.steps(Write(f"I am {number}"), End(number)) for number in range(20))
    )
    assert [(result.stdout.decode(), result.exit.exit_code) for result in results] == [
        (f"I am {number}", number) for number in range(20)
    ]


async def test_an_unknown_language_is_told_as_missing(local: Body) -> None:
    from sandboxes.protocol import LanguageMissing

    with pytest.raises(LanguageMissing, match="cobol"):
        await local.sandboxes.acquire(SandboxSpec("x", "cobol", LIMITS))


async def test_a_fake_can_break_on_demand() -> None:
    from sandboxes.fake import FakeSandboxes

    body = Body("fake", FakeSandboxes())
    with pytest.raises(SandboxFailed, match="broke"):
        await body.steps(Break())
