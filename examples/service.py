"""Starts `millrace serve` on a free port with a data folder of its own, for the demo, and stops it again."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import unquote

T = TypeVar("T")

KEY = "test-api-key"
_PATIENCE_S = 60.0


class Service:
    """`millrace serve`, as a user would start it, and what a user could find out about it."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "serve.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-P", "-m", "millrace", "serve", "--port", str(self.port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,  # where no .env lies
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def wait_until_ready(self) -> str:
        """Return the greeting."""
        return wait_for(self._greeting, "the service to be ready", lambda: self._process.poll() is None)

    @property
    def broker_socket(self) -> str:
        """The unix socket of the broker that the service brought along."""
        found = re.search(r"on unix://(\S+)", self._greeting())
        assert found, "the greeting names the broker"
        return unquote(found[1])

    def child(self, name: str) -> int:
        """Return the pid of a child by the name that `ps -o comm` shows; 0 if there is none."""
        return self.children().get(name, 0)

    def children(self) -> dict[str, int]:
        """Return the pids of all children by name."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and (status := _stat(folder)) and status[1] == self._process.pid:
                found[status[0]] = int(folder.name)
        return found

    def stop(self) -> int:
        """Stop it as Ctrl-C does; return the exit status."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=_PATIENCE_S)

    def log_tail(self) -> str:
        """Return the last lines of what it said."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def _greeting(self) -> str:
        text = self._log.read_text(errors="replace")
        found = re.search(r"^Millrace \S+ listens on .*?stop +Ctrl-C$", text, re.MULTILINE | re.DOTALL)
        return found[0] if found else ""


def wait_for(condition: Callable[[], T], what: str, may_go_on: Callable[[], bool] = lambda: True) -> T:
    """Return what `condition` returns as soon as that is true."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (result := condition()):
        if not may_go_on() or time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.02)
    return result


def _stat(folder: Path) -> tuple[str, int] | None:
    """Return name and parent of a process, from /proc/<pid>/stat; None if it is gone."""
    try:
        name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return None
    return name, int(rest.split()[1])


def _environment(folder: Path) -> dict[str, str]:
    """Return ours without any settings, so that the demo shows the defaults."""
    settings = re.compile(r"^(API|REDIS|MINIO|MILLRACE|MAX|LOG|ENABLE|SSL_(?!CERT))_")
    kept = {name: value for name, value in os.environ.items() if not settings.match(name)}
    return kept | {"MILLRACE_DATA_DIR": str(folder / "data")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
