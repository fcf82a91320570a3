"""What a sidecar promises to handlers about a run."""

import base64
import signal
from typing import Any

import pytest

from tests.brokers import until
from tests.sidecar.conftest import StartPair
from tests.sidecar.pair import Pair, command, outcome, python

EVERY_BYTE = bytes(range(256))
TALK = "import sys\nfor line in sys.stdin: print('heard', line, end='')"


def test_a_program_runs_and_its_end_is_told(pair: Pair) -> None:
    result = outcome(
        pair.run(**python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    )
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
    assert (result.facts["status"], result.facts["stage"], result.facts["stopped"]) == (3 << 8, "run", "")
    assert result.facts["stdout_bytes"] == result.facts["stderr_bytes"] == 4
    assert 0 < result.facts["cpu_s"] < 20
    assert result.facts["memory_bytes_peak"] > 1 << 20


def test_fewer_cpus_than_the_container_has_are_held(pair: Pair) -> None:
    """All processes together, and only those; one that somebody else stopped stays so, and may be ended.

    Unless both stop it at the same moment, which the agent cannot tell apart: then it is stopped once more.
    """
    code = (
        "import os, signal, time\n"
        "def state(): return open(f'/proc/{idle}/stat').read().split()[2]\n"
        "idle = os.fork()\n"
        "if not idle: time.sleep(60); os._exit(0)\n"
        "for attempt in (1, 2, 3):\n"
        "    os.kill(idle, signal.SIGSTOP); os.waitpid(idle, os.WUNTRACED)\n"
        "    while time.process_time() < 0.1 * attempt: pass\n"
        "    if state() == 'T': break\n"
        "other = os.fork()\n"
        "while time.process_time() < 0.3: pass\n"
        "if not other: os._exit(0)\n"
        "os.waitpid(other, 0)\n"
        "print(state(), flush=True); os.kill(idle, signal.SIGKILL)\n"
    )
    result = outcome(pair.run(**python(code, timeout_s=60.0, limits={"cpus": 0.2})))
    assert (result.stdout, result.facts["status"]) == (b"T\n", 0), result.facts
    assert result.facts["cpu_s"] >= 0.6
    assert result.facts["wall_s"] > result.facts["cpu_s"] / 0.2 * 0.5, "unbounded it takes as long, or half"


def test_a_signal_is_told_as_the_kernel_does(pair: Pair) -> None:
    result = outcome(pair.run(**python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")))
    assert result.facts["status"] & 0x7F == signal.SIGSEGV


def test_stages_run_in_order_and_the_first_that_fails_is_the_last(pair: Pair) -> None:
    build = command("sh", "-c", "echo built; exit 1", stage="build")
    run = command("sh", "-c", "echo never")
    result = outcome(pair.run(commands=[build, run], limits={"output_bytes_max": 1000}))
    assert (result.stdout, result.facts["stage"], result.facts["status"]) == (b"built\n", "build", 256)


def test_a_build_reads_nothing_and_what_it_makes_is_run(pair: Pair) -> None:
    script = "cat; printf '#!/bin/sh\\nread line; echo $line' > main; chmod +x main"
    commands = [command("sh", "-c", script, stage="build"), command("/program/main")]
    stdin = base64.b64encode(b"hello\n").decode()
    result = outcome(pair.run(commands=commands, stdin=stdin, limits={"output_bytes_max": 1000}))
    assert result.stdout == b"hello\n"


def test_what_is_not_in_the_image_is_told_by_name(pair: Pair) -> None:
    result = outcome(pair.run(commands=[command("cobol", "x")], limits={}))
    assert result.facts["error"] == "not_started"
    assert "cobol is not in this image" in result.facts["message"]


def test_stdin_is_what_was_given_and_then_ends(pair: Pair) -> None:
    given = EVERY_BYTE * 4000
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    order = python(code, stdin=base64.b64encode(given).decode(), limits={"output_bytes_max": 2 << 20})
    assert outcome(pair.run(**order)).stdout == given


def test_input_sent_early_follows_what_the_program_starts_with(pair: Pair) -> None:
    assert pair.ask("POST", "/v1/input", b"two\n")[0] == 204
    assert pair.ask("POST", "/v1/input?eof=1", b"three\n")[0] == 204
    order = python(TALK, stdin=base64.b64encode(b"one\n").decode(), keep_stdin_open=True)
    assert outcome(pair.run(**order)).stdout == b"heard one\nheard two\nheard three\n"


def test_input_comes_while_it_runs_and_after_the_end_does_nothing(pair: Pair) -> None:
    run = pair.run(**python("print('name?', flush=True); print('hello', input())", keep_stdin_open=True))
    frames = run.frames()
    assert next(frame for frame in frames if frame.kind == "o").payload == b"name?\n"
    assert pair.ask("POST", "/v1/input", b"Ada\n")[0] == 204
    assert b"hello Ada\n" in [frame.payload for frame in frames]
    assert pair.ask("POST", "/v1/input", b"late")[0] == 204


def test_much_input_for_a_program_that_reads_late_arrives_whole(pair: Pair) -> None:
    code = "import sys\nprint(len(sys.stdin.buffer.read()))"
    run = pair.run(**python(code, keep_stdin_open=True))
    for _ in range(8):
        assert pair.ask("POST", "/v1/input", bytes(1 << 20))[0] == 204
    assert pair.ask("POST", "/v1/input?eof=1")[0] == 204
    assert outcome(run).stdout == b"%d\n" % (8 << 20)


def test_input_that_nobody_reads_hinders_nobody(pair: Pair) -> None:
    stdin = base64.b64encode(bytes(3_000_000)).decode()
    assert outcome(pair.run(**python("print('done')", stdin=stdin))).stdout == b"done\n"


def test_arguments_and_environment_arrive_as_they_are(pair: Pair) -> None:
    code = "import os, sys\nprint(sys.argv[1:], os.environ['MY'], sorted(os.environ))"
    order = python(code)
    order["commands"][0]["argv"] += ["-x", "two words", "", "ünï", "'\""]
    order["commands"][0]["env"] = {"MY": "a = b", "PYTHONIOENCODING": "utf8"}
    told = outcome(pair.run(**order)).stdout.decode()
    assert told.startswith("['-x', 'two words', '', 'ünï', '\\'\"'] a = b ")
    assert "K8S_" not in told, "what the agent was given is nobody else's"
    assert "MILLRACE_" not in told


def test_output_past_the_limit_is_counted_and_the_program_ends_normally(pair: Pair) -> None:
    code = "import sys\nfor _ in range(500): sys.stdout.write('x' * 1000)\nsys.stderr.write('y')"
    result = outcome(pair.run(**python(code, limits={"output_bytes_max": 5000})))
    assert (result.stdout, result.stderr, result.facts["status"]) == (b"x" * 5000, b"", 0)
    facts = result.facts
    assert (facts["stdout_bytes"], facts["stderr_bytes"], facts["dropped_bytes"]) == (500_000, 1, 495_001)


def test_a_flood_is_cut(pair: Pair) -> None:
    limits = {"output_bytes_max": 10_000, "flood_bytes_max": 1 << 20}
    result = outcome(pair.run(commands=[command("sh", "-c", "yes & yes 1>&2")], limits=limits))
    assert len(result.stdout) + len(result.stderr) == 10_000
    run = result.facts
    assert run["stopped"] in ("flooded", "")
    assert run["dropped_bytes"] > 0


def test_a_flood_that_does_not_end_is_ended(pair: Pair) -> None:
    limits = {"output_bytes_max": 10_000, "flood_bytes_max": 1 << 20}
    result = outcome(pair.run(commands=[command("yes")], limits=limits))
    assert (result.facts["stopped"], result.facts["status"]) == ("flooded", signal.SIGKILL)


def test_a_slow_reader_makes_the_program_wait(pair: Pair) -> None:
    code = (
        "import os\nfor n in range(300):\n    os.write(1, bytes(100_000))\n    open('n', 'w').write(str(n))"
    )
    run = pair.run(**python(code, timeout_s=100, limits={"output_bytes_max": 1 << 30}))
    progress = pair.folder / "data" / "n"
    until(lambda: progress.exists() and int(progress.read_text() or 0) > 10, "the program to get going")
    stalled = _stalled_at(progress)
    assert stalled < 250, "what nobody reads is not written"
    assert len(outcome(run).stdout) == 30_000_000


def _stalled_at(progress: Any) -> int:
    seen: list[str] = []

    def stands() -> bool:
        seen.append(progress.read_text())
        return len(seen) > 100 and seen[-1] == seen[-100] != ""

    until(stands, "the program to wait")
    return int(seen[-1])


def test_time_is_up_and_what_was_written_is_kept(pair: Pair) -> None:
    result = outcome(
        pair.run(**python("print('so far', flush=True); input()", timeout_s=0.5, keep_stdin_open=True))
    )
    assert (result.stdout, result.facts["stopped"]) == (b"so far\n", "timed_out")
    assert result.facts["wall_s"] >= 0.5


def test_a_cancel_kills_the_whole_tree(pair: Pair) -> None:
    code = "sleep 1000 & (setsid sleep 1000 &) ; echo so far; wait"
    run = pair.run(commands=[command("sh", "-c", code)], limits={"output_bytes_max": 1000})
    frames = run.frames()
    assert next(frame for frame in frames if frame.kind == "o").payload == b"so far\n"
    assert pair.ask("POST", "/v1/cancel")[0] == 204
    assert [frame for frame in frames if frame.kind == "x"][-1].facts["stopped"] == "cancelled"
    assert pair.processes() == 1


def test_a_cancel_before_the_run_runs_nothing(pair: Pair) -> None:
    assert pair.ask("POST", "/v1/cancel")[0] == 204
    result = outcome(pair.run(**python("open('made', 'w')")))
    assert (result.facts["stopped"], result.facts["status"], result.facts["stage"]) == (
        "cancelled",
        None,
        "run",
    )
    assert not (pair.folder / "data" / "made").exists()


def test_grandchildren_that_hold_the_pipes_die_with_the_program(pair: Pair) -> None:
    result = outcome(
        pair.run(
            commands=[command("sh", "-c", "(sleep 1000 &) ; echo done")], limits={"output_bytes_max": 99}
        )
    )
    assert (result.stdout, result.facts["status"], pair.processes()) == (b"done\n", 0, 1)


def test_a_reader_that_goes_away_ends_the_run(pair: Pair) -> None:
    run = pair.run(**python("print('x', flush=True); input()", timeout_s=60, keep_stdin_open=True))
    assert next(run.frames()).payload == b"x\n"
    run.close()
    until(lambda: pair.get("/v1/changes")[0] == 200, "the run to be over")
    assert pair.processes() == 1


def test_a_quiet_run_says_that_it_lives(pair: Pair) -> None:
    run = pair.run(**python("input()", keep_stdin_open=True))
    assert next(run.frames()).kind == "h"
    run.close()


def test_a_pod_runs_once(pair: Pair) -> None:
    outcome(pair.run(**python("pass")))
    assert pair.run(**python("pass")).answer.status == 409


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"commands": []},
        {"commands": [{"argv": []}]},
        {"commands": 1},
        {"files": [{"name": "../x"}], "commands": [{"argv": ["true"]}]},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(pair: Pair, order: dict[str, Any]) -> None:
    assert pair.run(**order).answer.status == 400


def test_calls_of_tools_come_after_what_was_printed_and_stop_the_clock(pair: Pair) -> None:
    code = (
        "import os, time\n"
        "print('before', flush=True)\n"
        "os.write(4, b'call\\n')\n"
        "print('after', os.read(3, 100).decode(), flush=True)\n"
    )
    run = pair.run(**python(code, tools=True, timeout_s=1.0))
    kinds = []
    for frame in run.frames():
        kinds.append((frame.kind, frame.payload))
        if frame.kind == "h" and kinds.count(("h", b"")) == 3:  # longer than its time
            assert pair.ask("POST", "/v1/tool-results", b"answer\n")[0] == 204
    told = [each for each in kinds if each[0] in "ot"]
    assert told == [("o", b"before\n"), ("t", b"call\n"), ("o", b"after answer\n\n")]


def test_a_runtime_that_waits_takes_the_program_by_itself(start_pair: StartPair) -> None:
    script = (
        "exec 5< /program/.order; echo ready > /program/.word; echo warming up > /tmp/warm; "
        "echo order: $(cat <&5); read line; echo $line; exit 7"
    )
    pair = start_pair({"argv": ["sh", "-c", script], "cwd": "/mnt/data", "source": "main.sh"})
    ready = pair.get("/readyz")[1]
    assert b'"warm":true' in ready
    stdin = base64.b64encode(b"hello\n").decode()
    order = {"commands": [command("never")], "order": "main x\n", "stdin": stdin}
    result = outcome(pair.run(**order, limits={"output_bytes_max": 1000, "open_files_max": 64}))
    assert (result.stdout, result.facts["status"]) == (b"order: main x\nhello\n", 7 << 8)
    assert not (pair.folder / "program" / ".order").exists()


def test_a_runtime_that_is_not_wanted_leaves_no_trace(start_pair: StartPair) -> None:
    script = "exec 5< /program/.order; echo ready > /program/.word; cat <&5; sleep 1000"
    pair = start_pair({"argv": ["sh", "-c", script], "cwd": "/mnt/data"})
    assert outcome(pair.run(**python("print('cold')"))).stdout == b"cold\n"


def test_a_runtime_that_cannot_start_leaves_a_pod_that_works(start_pair: StartPair) -> None:
    pair = start_pair({"argv": ["cobol"], "cwd": "/mnt/data"})
    assert b"cobol is not in this image" in pair.get("/readyz")[1]
    assert outcome(pair.run(**python("print('cold')", order="main x\n"))).stdout == b"cold\n"


def test_a_build_of_a_waiting_runtime_has_its_own_stage(start_pair: StartPair) -> None:
    script = (
        "exec 5< /program/.order 6> /program/.word; echo ready >&6; cat <&5; echo building; "
        "echo built >&6; exec 6>&-; echo running"
    )
    pair = start_pair({"argv": ["sh", "-c", script], "cwd": "/mnt/data"})
    commands = [command("never", stage="build"), command("never")]
    result = outcome(
        pair.run(commands=commands, order="build x\nmain x\n", limits={"output_bytes_max": 1000})
    )
    assert (result.facts["stage"], result.facts["status"]) == ("run", 0)
    assert result.stdout.endswith(b"building\nrunning\n")
