"""A Python whose imports are done waits in a pod for its one program."""

import base64

import pytest

from sandboxes.waiting_python import python_order, waiting_python
from tests.sidecar.conftest import StartPair
from tests.sidecar.pair import Outcome, Pair, command, outcome, python

MAIN = "/program/main.py"


@pytest.fixture
def warm(start_pair: StartPair) -> Pair:
    pair = start_pair({"argv": waiting_python(["decimal"]), "cwd": "/mnt/data"})
    assert b'"warm":true' in pair.get("/readyz")[1]
    return pair


def run(pair: Pair, code: str, *args: str, stdin: bytes = b"", state: str = "", **env: str) -> Outcome:
    order = python(code, order=python_order(MAIN, args, env, state), stdin=base64.b64encode(stdin).decode())
    order["commands"] = [command("never")]  # the waiting one stands for all commands
    return outcome(pair.run(**order))


def test_it_runs_the_program_as_python_would(warm: Pair) -> None:
    code = (
        "import os, sys\n"
        "print(__name__, __file__, sys.argv[1:], os.environ['MY'], os.getcwd())\n"
        "print(input(), 'guest' in sys.modules)\n"
        "import decimal, helper\n"
        "sys.exit(helper.CODE)"
    )
    assert warm.ask("PUT", "/v1/file?name=helper.py", b"CODE = 5")[0] == 204
    result = run(warm, code, "-x", "ü 1", stdin=b"hello\n", MY="a=b")
    assert result.stdout.decode() == "__main__ /program/main.py ['-x', 'ü 1'] a=b /mnt/data\nhello False\n"
    assert (result.facts["status"], result.stderr) == (5 << 8, b"")


def test_an_error_shows_the_programs_lines_alone(warm: Pair) -> None:
    result = run(warm, "def f():\n    1 / 0\nf()")
    assert result.facts["status"] == 1 << 8
    assert b"ZeroDivisionError" in result.stderr
    assert b"waiter" not in result.stderr + b"guest.zip"


def test_variables_are_restored_and_saved(warm: Pair, start_pair: StartPair) -> None:
    plan = "/program/.state:1000000:0"
    assert warm.ask("PUT", "/v1/file?root=program&name=.state/x", b"")[0] == 204
    run(warm, "a = {'b': 1}", state=plan)
    status, saved = warm.get("/v1/file?root=program&name=.state/saved")
    assert status == 200
    later = start_pair({"argv": waiting_python([]), "cwd": "/mnt/data"})
    assert later.ask("PUT", "/v1/file?root=program&name=.state/before", saved)[0] == 204
    assert run(later, "print(a['b'] + 1)", state=plan).stdout == b"2\n"


def test_what_it_used_before_is_nobodys_account(warm: Pair) -> None:
    result = run(warm, "print(1)")
    assert result.stdout == b"1\n"
    assert 0 <= result.facts["cpu_s"] < 5
    assert result.facts["memory_bytes_peak"] > 1 << 20


def test_limits_hold_for_it(warm: Pair) -> None:
    code = "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE))"
    assert run(warm, code).stdout == b"(1024, 1024) (0, 0)\n"


def test_one_that_is_not_wanted_ends(warm: Pair) -> None:
    assert outcome(warm.run(**python("print('cold')"))).stdout == b"cold\n"
    assert warm.processes() == 1
