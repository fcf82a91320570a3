"""Supervisors run in a process of their own: they fork, and must not do so inside the test runner."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition instead of sleeping for it."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what}"
        time.sleep(0.01)


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or dead and only not yet reaped by whoever inherited it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Scripted:
    """A Python script in a process of its own, its output in a file, its descendants known."""

    def __init__(self, script: str, folder: Path) -> None:
        self.out = folder / "output"
        with self.out.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script], cwd=ROOT, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL
            )

    def text(self) -> str:
        return self.out.read_text()

    def says(self, words: str) -> None:
        def said() -> bool:
            return words in self.text() or self.process.poll() is not None

        wait_until(said, f"{words!r} in the output")
        assert words in self.text(), self.text()

    def until(self, condition: Callable[[], object], what: str) -> None:
        wait_until(condition, what)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def ended(self, processes: list[psutil.Process]) -> None:
        wait_until(lambda: all(map(has_ended, processes)), "the end of its children")

    def ends(self) -> int:
        return self.process.wait(timeout=20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Scripted]]:
    """Start scripts; whatever is left of them is killed at the end."""
    started: list[Scripted] = []

    def start(script: str) -> Scripted:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Scripted(script, folder))
        return started[-1]

    yield start
    for scripted in started:
        if scripted.process.poll() is None:
            scripted.process.kill()
            scripted.process.wait()


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
