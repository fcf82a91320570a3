"""Processes as tests start them: scripts that supervise, and whole services."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

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


def name_of(process: psutil.Process) -> str:
    """Return what `ps -o comm` shows; nothing for a process that just ended."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


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

    def child(self, name: str) -> psutil.Process:
        return next(process for process in self.family() if name_of(process) == name)

    def memory_bytes(self) -> dict[str, int]:
        """Return the proportional share of each process, in which shared pages count once."""
        shares = {}
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                shares[f"{process.name()} {process.pid}"] = process.memory_full_info().pss
        return shares

    def ask(self, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"x-api-key": "test-api-key", "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{refusal.code}: {refusal.read().decode()}\n{self.said()}") from refusal
