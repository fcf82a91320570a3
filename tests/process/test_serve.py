"""`millrace serve`: one command, everything runs; one signal, everything is gone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.conftest import ROOT, has_ended, wait_until

IDLE_MEMORY_BYTES_MAX = 150 * 1024 * 1024


@pytest.fixture(autouse=True)
def _needs_bubblewrap() -> None:
    if shutil.which("bwrap") is None:
        assert not os.environ.get("CI"), "bubblewrap must be there in CI"
        pytest.skip("bubblewrap is not installed")


class Serve:
    """One `millrace serve`, its words and its processes."""

    def __init__(self, folder: Path, port: int, **settings: str) -> None:
        folder.mkdir(exist_ok=True)
        self.out = folder / "serve.out"
        self.url = f"http://127.0.0.1:{port}"
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "CI") if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "MILLRACE_DATA_DIR": str(folder / "data"), **settings}
        with self.out.open("wb") as sink:
            command = [sys.executable, "-m", "millrace", "serve", "--port", str(port)]
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL
            )

    def ready(self) -> "Serve":
        wait_until(lambda: "Ctrl-C" in self.said() or self.process.poll() is not None, "the greeting", 60)
        assert self.process.poll() is None, self.said()
        return self

    def said(self) -> str:
        return self.out.read_text()

    def family(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def ask(self, path: str, body: object = None) -> dict[str, object]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"x-api-key": "test-api-key", "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


@pytest.fixture
def serve(tmp_path: Path, free_port: int) -> Iterator[Callable[..., Serve]]:
    """Start services in one folder with a space in its name; none is left at the end."""
    started: list[Serve] = []

    def start(**settings: str) -> Serve:
        started.append(Serve(tmp_path / "a folder", free_port, **settings))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.process.terminate()
            service.process.wait(timeout=60)


def test_it_runs_code_and_one_ctrl_c_leaves_nothing_behind(serve: Callable[..., Serve]) -> None:
    """No settings, no server, no key made before."""
    service = serve().ready()
    assert service.ask("/exec", {"lang": "py", "code": "print(6 * 7)"})["stdout"] == "42\n"
    family = service.family()
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(timeout=60) == 0
    assert [process for process in family if not has_ended(process)] == []


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
    service = serve().ready()
    for name in ("edge", "handlers-1"):
        [victim] = [process for process in service.family() if process.name() == name]
        victim.kill()
        assert service.ask("/exec", {"lang": "py", "code": f"print('{name}')"})["stdout"] == f"{name}\n"
        assert f"{name} was killed by SIGKILL" in service.said()


def test_idle_it_needs_little_memory(serve: Callable[..., Serve]) -> None:
    """Measured as the kernel shares it out (PSS) over the whole tree."""
    service = serve().ready()
    family = [process for process in service.family() if not has_ended(process)]
    total = sum(process.memory_full_info().pss for process in family)
    assert total < IDLE_MEMORY_BYTES_MAX, {
        process.name(): process.memory_full_info().pss for process in family
    }
