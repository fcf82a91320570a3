"""Processes that outlive whoever starts them, found again by their pid and the moment of their start."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infra.cluster.home import Home
from infra.errors import Misconfigured

_STOP_TIMEOUT_S = 20.0
_LOOK_S = 0.1
_READY_TIMEOUT_S = 180.0


class Programs:
    """Those of one cluster."""

    def __init__(self, home: Home) -> None:
        self._home = home
        for folder in (home.logs, home.pids, home.folder / "commands"):
            folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *command: str | Path) -> None:
        """Start one in a session of its own; what it says goes to its log."""
        with (self._home.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self._home.pids / name).write_text(f"{process.pid} {_began(process.pid)}")
        self._note(name).write_text(json.dumps([str(word) for word in command]))

    def kill(self, name: str) -> None:
        """Kill one as a fault would, and wait until it is gone; `revive` starts it again."""
        while pid := self.pid(name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_S)

    def revive(self, name: str) -> None:
        """Start one again that was killed, as it was started before."""
        self.start(name, *json.loads(self._note(name).read_text()))

    def _note(self, name: str) -> Path:
        return self._home.folder / "commands" / name

    def stop(self, name: str) -> None:
        """End one, if it runs, and wait for that; a stranger that has its number now is left alone."""
        file = self._home.pids / name
        if not file.exists():
            return
        pid, began = file.read_text().split()
        give_up_at = time.monotonic() + _STOP_TIMEOUT_S
        while _began(int(pid)) == began:
            kind = signal.SIGKILL if time.monotonic() > give_up_at else signal.SIGTERM
            with suppress(ProcessLookupError):
                os.kill(int(pid), kind)
            time.sleep(_LOOK_S)
        file.unlink()

    def is_running(self, name: str) -> bool:
        """Whether it was started and has not ended."""
        return self.pid(name) != 0

    def pid(self, name: str) -> int:
        """Return the process id of one that runs; 0 if it does not."""
        file = self._home.pids / name
        if not file.exists():
            return 0
        pid, began = file.read_text().split()
        return int(pid) if _began(int(pid)) == began else 0

    def wait(self, what: str, is_ready: Callable[[], bool]) -> None:
        """Wait until `is_ready`, which may raise OSError meanwhile. Raises `Misconfigured`."""
        began = time.monotonic()
        while True:
            with suppress(OSError, KeyError):
                if is_ready():
                    break
            for file in self._home.pids.iterdir():
                if not self.is_running(file.name):
                    raise Misconfigured(f"{file.name} died; see {self._home.logs / file.name}.log")
            if time.monotonic() - began > _READY_TIMEOUT_S:
                raise Misconfigured(f"waited {_READY_TIMEOUT_S:g} s for {what}; see {self._home.logs}")
            time.sleep(_LOOK_S)
        print(f"  {what}: {time.monotonic() - began:.1f} s", file=sys.stderr)  # noqa: T201 - progress


def _began(pid: int) -> str:
    """Return when a process began, in the kernel's ticks; empty if there is none, or only its remains."""
    with suppress(OSError):
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else rest[18]
    return ""
