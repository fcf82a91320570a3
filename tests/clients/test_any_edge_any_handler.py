"""A conversation goes on when every process that served it is gone: none of it was in their memory only."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.clients.conversation import Conversation
from tests.process.processes import ROOT, wait_until

KEY = "test-api-key"

StartPair = Callable[[], "Pair"]


class Pair:
    """One edge and one handler process, as they run in production."""

    def __init__(self, folder: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "CI") if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "API_HOST": "127.0.0.1", "API_PORT": str(port), **settings}
        with (folder / "log").open("ab") as log:
            self._processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "millrace", name],
                    cwd=folder,
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
                for name in ("edge", "handlers")
            ]

    def ready(self) -> "Pair":
        wait_until(self._answers, "the edge to answer", 60)
        return self

    def stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(timeout=60)

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/health/ready", timeout=5) as answer:
            return answer.status == 200
        return False


@pytest.fixture
def start_pair(start_broker, tmp_path: Path) -> Iterator[StartPair]:
    """Start pairs on one broker and one folder; none is left at the end."""
    settings = {"REDIS_URL": start_broker().url, "MILLRACE_DATA_DIR": str(tmp_path / "data")}
    started: list[Pair] = []

    def start() -> Pair:
        started.append(Pair(tmp_path, **settings))
        return started[-1].ready()

    yield start
    for pair in started:
        pair.kill()


def talk(package: Path, pair: Pair) -> Conversation:
    client = Conversation(package, f"{pair.url}/v1")
    return client.begin(params={"authHeaders": {"X-API-Key": KEY}}, headers={"X-API-Key": KEY})


@pytest.mark.timeout(240)
def test_a_conversation_goes_on_over_other_processes(
    packages: dict[str, Path], start_pair: StartPair
) -> None:
    """The files it knows are all it takes along."""
    first = start_pair()
    before = talk(packages["D"], first)
    before.run("open('a.txt', 'w').write('one')")
    before.run("open('b.txt', 'w').write(open('a.txt').read() + ' two')")
    known = before.do("session")
    before.close()
    first.stop()

    second = start_pair()
    after = talk(packages["D"], second)
    for file in known["files"]:
        after.do("remember", session_id=known["session_id"], file=file)
    assert "one two" in after.run("print(open('b.txt').read())")["text"]
    [made] = [file for file in known["files"] if file["name"] == "b.txt"]
    link = f"/download/{made['storage_session_id']}/{made['id']}"
    assert after.do("download", url=link)["content"] == "one two"
    after.close()


@pytest.mark.timeout(240)
def test_two_edges_and_two_handlers_serve_one_conversation_in_turns(
    packages: dict[str, Path], start_pair: StartPair
) -> None:
    """Each call asks the other edge; whichever handler is free runs it."""
    clients = [talk(packages["D"], start_pair()) for _ in range(2)]
    for turn in range(6):
        asking, next_asking = clients[turn % 2], clients[(turn + 1) % 2]
        asking.run(f"open('log.txt', 'a').write('{turn} ')")
        known = asking.do("session")
        next_asking.begin(params={"authHeaders": {"X-API-Key": KEY}}, headers={"X-API-Key": KEY})
        for file in known["files"]:
            next_asking.do("remember", session_id=known["session_id"], file=file)
    assert "0 1 2 3 4 5" in clients[0].run("print(open('log.txt').read())")["text"]
    for client in clients:
        client.close()
