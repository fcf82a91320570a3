"""`millrace serve`: one command, everything runs; one signal, everything is gone."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.processes import Serve, has_ended, wait_until

pytestmark = pytest.mark.usefixtures("bubblewrap")

IDLE_MEMORY_BYTES_MAX = 150 * 1024 * 1024


def test_it_runs_code_and_one_ctrl_c_leaves_nothing_behind(serve: Callable[..., Serve]) -> None:
    """No settings, no server, no key made before."""
    service = serve().ready()
    assert service.ask("/exec", {"lang": "py", "code": "print(6 * 7)"})["stdout"] == "42\n"
    family = service.family()
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(timeout=60) == 0
    assert [process for process in family if not has_ended(process)] == []


def test_a_program_asked_for_over_exec_meets_the_end_of_its_input(
    serve: Callable[..., Serve], tmp_path: Path
) -> None:
    """Nobody can send it any later; waiting for it would take all the time there is. Cold and warm alike."""
    service = serve(MILLRACE_CACHE=str(tmp_path / "cache")).ready()
    for lang, code in (("bash", "cat; echo \"''\""), ("py", "import sys; print(repr(sys.stdin.read()))")):
        answer = service.ask("/exec", {"lang": lang, "code": code})
        assert (answer["stdout"], answer["code"]) == ("''\n", 0)
    wait_until(lambda: is_warm(service), "waiting sandboxes", 60)
    answer = service.ask("/exec", {"lang": "py", "code": "input()"})
    assert answer["code"] == 1
    assert "EOFError" in answer["stderr"]


def test_what_it_prints_can_be_pasted(serve: Callable[..., Serve]) -> None:
    """The first thing a stranger does is to paste that line."""
    line = re.search(r"^ +try +(.*)$", serve().ready().said(), re.MULTILINE)
    assert line
    answer = subprocess.run(["sh", "-c", line[1]], capture_output=True, check=True, timeout=60).stdout
    assert json.loads(answer)["stdout"] == "42\n"


def test_a_kill_of_the_supervisor_leaves_nothing_and_the_next_one_starts(serve: Callable[..., Serve]) -> None:
    """kill -9, then the same command again: no lock to remove, no port taken, no process left."""
    first = serve().ready()
    path = "/executions/kept"
    first.ask("/executions", {"id": "kept", "language": "py", "code": "print('kept')"})
    wait_until(lambda: first.ask(path)["status"] == "finished", "the run")
    family = first.family()
    first.process.kill()
    first.process.wait()
    wait_until(lambda: all(map(has_ended, family)), "the end of all of it")
    assert serve().ready().ask(path)["stdout"] == "kept\n"


def test_a_second_one_on_the_same_data_is_refused(serve: Callable[..., Serve]) -> None:
    """Two brokers on one append-only file would destroy it."""
    first = serve().ready()
    second = serve()
    assert second.process.wait(timeout=60) == 2
    assert f"another `millrace serve` (process {first.process.pid})" in second.said()


def test_a_port_in_use_is_told_and_nothing_starts(serve: Callable[..., Serve], tmp_path: Path) -> None:
    """Status 1, one sentence, no stack trace."""
    first = serve().ready()
    second = serve(MILLRACE_DATA_DIR=str(tmp_path / "other"))
    assert second.process.wait(timeout=60) == 1
    assert f"127.0.0.1:{first.url.rpartition(':')[2]}: the address is in use" in second.said()
    assert "Traceback" not in second.said()


def test_the_default_key_is_refused_where_other_machines_can_reach_it(serve: Callable[..., Serve]) -> None:
    """Everybody knows that key."""
    service = serve(API_HOST="0.0.0.0")
    assert service.process.wait(timeout=60) == 2
    assert "API_HOST is 0.0.0.0" in service.said()


def test_a_key_of_ones_own_is_never_printed(serve: Callable[..., Serve]) -> None:
    """Terminals are recorded and logs are kept."""
    service = serve(API_KEY="a-long-and-secret-key-of-mine").ready()
    assert "the one in API_KEY" in service.said()
    assert "a-long-and-secret-key-of-mine" not in service.said()


def test_a_killed_edge_and_a_killed_handler_come_back(serve: Callable[..., Serve]) -> None:
    """Clients wait meanwhile; none is refused."""
    service = serve(MILLRACE_LEASE_SECONDS="1").ready()
    for name in ("edge", "handlers-1"):
        service.child(name).kill()
        assert service.ask("/exec", {"lang": "py", "code": f"print('{name}')"})["stdout"] == f"{name}\n"
        assert f"{name} was killed by SIGKILL" in service.said()


def test_idle_it_needs_little_memory(serve: Callable[..., Serve], tmp_path: Path) -> None:
    """As the kernel shares it out over the whole tree, once warm, without the optional data libraries."""
    service = serve(MILLRACE_CACHE=str(tmp_path / "cache")).ready()
    wait_until(lambda: is_warm(service), "waiting sandboxes")
    shares = service.memory_bytes()
    assert sum(shares.values()) < IDLE_MEMORY_BYTES_MAX, shares


def is_warm(service: Serve) -> bool:
    """Whether sandboxes for Python wait, where this host can have them wait."""
    [handler] = service.ask("/health/detailed")["handlers"]
    python = next(language for language in handler["languages"] if language["code"] == "py")
    return python["warm"] > 0 or handler["tier"] != "A"
