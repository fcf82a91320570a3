"""Each limit of a local sandbox has its own outcome and sentence, and takes everybody with it."""

import os
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from sandboxes.protocol import Exit, OutputFrame, Program
from tests.sandboxes.bodies import MIB, Body, finish

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENDLESS_BUILD = """
#if __INCLUDE_LEVEL__ == 0
#warning here
#endif
#if __INCLUDE_LEVEL__ < 100
#include __FILE__
#include __FILE__
#endif
"""
"""Twice as long at each level, in little memory."""
ENDLESS_TEXT = (
    "#define X(a) a a a a a a a a a a\n"
    'int main() { const char *s = "" X(X(X(X(X(X(X("aaaaaaaaaaaaaaaa"))))))); return *s; }'
)
MARK = "millrace-test-grandchild"


def alive(mark: str) -> list[int]:
    """Return the processes with `mark` among their arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in arguments:
            found.append(int(folder.name))
    return found


async def test_memory_that_is_too_much_is_out_of_memory(local: Body) -> None:
    result = await local.run("print('begin', flush=True)\nb = bytearray(600 << 20)\nprint('never')")
    assert (result.exit.outcome, result.stdout) == ("out_of_memory", b"begin\n")
    assert "128 MiB" in result.exit.message
    assert result.exit.memory_bytes_peak > 100 * MIB


async def test_memory_counts_for_all_processes_together(local: Body) -> None:
    each = "python3 -c 'b = bytearray(40 << 20); import time; time.sleep(5)'"
    code = f"for i in 1 2 3 4 5 6; do {each} & done; wait -n"
    result = await local.run(code, language="bash", timeout_s=10)
    assert result.exit.outcome == "out_of_memory"


async def test_a_program_that_outlives_the_death_of_its_child_ended_well(local: Body) -> None:
    if not local.is_grouped:
        pytest.skip("without control groups all processes are killed together")
    code = (
        "import subprocess\n"
        "child = subprocess.run(['python3', '-c', 'bytearray(600 << 20)'])\n"
        "print(child.returncode)"
    )
    result = await local.run(code)
    assert (result.exit.outcome, result.stdout) == ("exited", b"-9\n")


async def test_files_in_memory_count_as_memory(local: Body) -> None:
    code = (
        "import time\n"
        "for folder in ('/tmp', '/dev/shm'):\n"
        "    with open(folder + '/big', 'wb') as file:\n"
        "        for _ in range(100): file.write(bytes(1 << 20)); file.flush()\n"
        "time.sleep(1)\nprint('never')"
    )
    result = await local.run(code)
    assert result.exit.outcome == "out_of_memory"
    assert result.stdout == b""


async def test_processes_are_limited_and_the_limit_is_named(local: Body) -> None:
    code = (
        "import os, time\n"
        "started = 0\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "        started += 1\n"
        "except BlockingIOError:\n"
        "    print(started, flush=True)\n"
        "    raise\n"
    )
    result = await local.run(code, pids_max=20)
    assert result.exit.exit_code == 1
    assert int(result.stdout) == 19
    if local.is_grouped:
        assert "20 processes" in result.exit.message


async def test_a_timeout_takes_the_whole_tree(local: Body) -> None:
    renamed = f"bash -c 'exec -a {MARK} sleep 1000'"
    code = f"({renamed}; sleep 1000) & disown; setsid {renamed} & echo started; sleep 1000"
    result = await local.run(code, language="bash", timeout_s=1.0)
    assert (result.exit.outcome, result.stdout) == ("timed_out", b"started\n")
    assert alive(MARK) == []


async def test_grandchildren_that_hold_the_pipes_do_not_hold_up_the_end(local: Body) -> None:
    code = f"setsid nohup bash -c 'exec -a {MARK} sleep 1000' & echo bye"
    result = await local.run(code, language="bash")
    assert (result.exit.outcome, result.exit.exit_code, result.stdout) == ("exited", 0, b"bye\n")
    assert alive(MARK) == []


async def test_a_program_deaf_to_all_signals_is_killed(local: Body) -> None:
    code = (
        "import signal\n"
        "for number in range(1, 65):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True: pass\n"
    )
    result = await local.run(code, timeout_s=0.5)
    assert (result.exit.outcome, result.exit.signal) == ("timed_out", "SIGKILL")


async def test_the_cpu_quota_holds_for_all_processes_together(local: Body) -> None:
    if not local.is_grouped:
        pytest.skip("there is no CPU quota without control groups")
    code = "import os\nos.fork(); os.fork()\nwhile True: pass"
    result = await local.run(code, cpus=0.2, timeout_s=2.0)
    assert result.exit.outcome == "timed_out"
    assert result.exit.cpu_s < 0.5 * result.exit.wall_s, "four processes would take all there is"


async def test_a_flood_ends_soon_and_says_why(local: Body) -> None:
    result = await local.run("yes", language="bash", output_bytes_max=1000)
    assert len(result.stdout) == 1000
    assert (result.exit.outcome, result.exit.signal) == ("killed", "SIGKILL")
    assert "beyond the output limit" in result.exit.message
    assert result.exit.output.dropped_bytes > MIB


async def test_a_file_beyond_the_disk_is_refused_by_signal(local: Body) -> None:
    result = await local.run("exec dd if=/dev/zero of=big bs=1M seek=1000000 count=1", language="bash")
    assert (result.exit.outcome, result.exit.signal) == ("killed", "SIGXFSZ")
    assert "256 MiB" in result.exit.message


async def test_a_full_disk_is_an_error_for_the_program_only(local: Body) -> None:
    code = (
        "try:\n"
        "    with open('big', 'wb') as file:\n"
        "        while True: file.write(bytes(1 << 20))\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    result = await local.run(code, memory_bytes_max=600 * MIB)
    assert result.stdout in (b"No space left on device\n", b"File too large\n")
    assert dict(result.changes.skipped).keys() == {"big"}


async def test_open_files_are_limited(local: Body) -> None:
    code = "held = []\ntry:\n    while True: held.append(open('/dev/null'))\nexcept OSError: print(len(held))"
    result = await local.run(code, open_files_max=100)
    assert 80 < int(result.stdout) < 100


async def test_a_build_that_fails_is_told_as_such(local: Body) -> None:
    result = await local.run("int main() { return x; }", language="c")
    assert (result.exit.stage, result.exit.outcome, result.exit.exit_code) == ("build", "exited", 1)
    assert b"main.c:1" in result.stderr


async def test_a_build_has_the_time_limit_too(local: Body) -> None:
    result = await local.run(ENDLESS_BUILD, language="c", timeout_s=0.5)
    assert (result.exit.stage, result.exit.outcome) == ("build", "timed_out")
    assert "The build was stopped" in result.exit.message


async def test_a_build_has_the_memory_limit_too(local: Body) -> None:
    result = await local.run(ENDLESS_TEXT, language="c")
    assert (result.exit.stage, result.exit.outcome) == ("build", "out_of_memory")
    assert "The build needed more than the memory limit" in result.exit.message


async def test_a_build_has_the_output_limit_too(local: Body) -> None:
    warnings = "\n".join(f"#warning {'w' * 100}" for _ in range(300))
    code = f'{warnings}\n#include <stdio.h>\nint main() {{ puts("ran"); }}'
    result = await local.run(code, language="c", output_bytes_max=10_000)
    assert (result.exit.outcome, len(result.stderr), result.stdout) == ("exited", 10_000, b"")
    assert "Output beyond 9.766 KiB was dropped" in result.exit.message


async def test_what_was_built_is_no_produced_file(local: Body) -> None:
    result = await local.run("int main() { return 7; }", language="c")
    assert (result.exit.exit_code, result.files, result.changes.skipped) == (7, {}, [])


async def test_a_broken_pipe_ends_a_program_as_everywhere(local: Body) -> None:
    result = await local.run("yes | head -1; echo ${PIPESTATUS[0]}", language="bash")
    assert result.stdout == b"y\n141\n"


async def test_a_traceback_names_the_users_file_and_line(local: Body) -> None:
    result = await local.run("def f():\n    return 1 / 0\n\nf()\n")
    assert b'main.py", line 2, in f' in result.stderr
    assert b"ZeroDivisionError" in result.stderr


async def test_a_cancel_during_the_build_ends_it(local: Body) -> None:
    sandbox = await local.acquire("c", timeout_s=60)
    ("#warning here\n#define A(x) x x x x x x x x x x\n" + "int main(){" + "A(" * 8 + "1+" + ")" * 8 + "1;}")
    exits = []
    async with aclosing(sandbox.run(Program(ENDLESS_BUILD))) as frames:
        async for frame in frames:
            if isinstance(frame, Exit):
                exits.append(frame)
            await sandbox.cancel()
    assert (exits[0].stage, exits[0].outcome) == ("build", "cancelled")
    await sandbox.close()


async def test_an_abandoned_run_is_killed_by_close(local: Body) -> None:
    sandbox = await local.acquire("bash")
    frames = sandbox.run(Program(f"echo x; exec -a {MARK} sleep 1000"))
    assert await anext(frames) == OutputFrame("stdout", b"x\n")
    await sandbox.close()
    assert alive(MARK) == []
    await frames.aclose()


async def test_memory_of_the_service_is_safe_from_a_reader_that_never_reads(local: Body) -> None:
    """What nobody takes stays in the pipe; the program waits there until its time is over."""
    sandbox = await local.acquire("bash", timeout_s=1.0, output_bytes_max=1 << 40)
    frames = sandbox.run(Program("echo $$; yes"))
    await anext(frames)
    before = resident_bytes()
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        await pause()
    assert resident_bytes() - before < 8 * MIB
    rest = [frame async for frame in frames]
    assert isinstance(rest[-1], Exit)
    assert rest[-1].outcome == "timed_out"
    assert sum(len(frame.data) for frame in rest[:-1]) <= 2 * MIB
    await sandbox.close()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def pause() -> None:
    import asyncio

    await asyncio.sleep(0.05)


async def test_a_lower_limit_of_the_host_is_no_hindrance(local: Body) -> None:
    sandbox = await local.acquire("py", open_files_max=1 << 30)
    result = await finish(sandbox, Program("print('fine')"))
    assert result.stdout == b"fine\n"
    await sandbox.close()
