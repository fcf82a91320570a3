"""One supervised child: a function run in a forked process, and what is known of its lives.

Forking from a parent that has imported everything and frozen its objects lets all children share
those pages, and a crashed one is back within milliseconds.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from infra.errors import Misconfigured
from infra.process.lifeline import die_with_parent, name_process

EXIT_MISCONFIGURED = 2
"""Exit status of a process that no restart can help."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run, and how to treat it."""

    name: str
    """For people and for `ps -o comm`."""
    run: Callable[[], object]
    """Runs until done or until SIGTERM. Its result is the exit status if it is an int."""
    restart: bool = True
    stop_grace_s: float = 10.0
    """From SIGTERM to SIGKILL."""
    stage: int = 0
    """Stages stop one after the other, the highest first; children of one stage together."""
    ready: Callable[[], bool] | None = None
    """Whether children after this one may be started."""
    where_to_look: str = ""
    """For people, when it does not get ready."""


@dataclass(slots=True)
class Backoff:
    """Seconds until the next start: none after a life that was long enough, then doubling."""

    first_s: float = 0.25
    max_s: float = 30.0
    steady_after_s: float = 10.0
    _next_s: float = 0.0

    def after(self, lived_s: float) -> float:
        """Return how long to wait after a life of `lived_s`."""
        if lived_s >= self.steady_after_s:
            self._next_s = 0.0
        wait_s = self._next_s
        self._next_s = min(self.max_s, max(self.first_s, self._next_s * 2))
        return wait_s


@dataclass(slots=True)
class Child:
    """A spec and its present life."""

    spec: ChildSpec
    backoff: Backoff = field(default_factory=Backoff)
    pid: int = 0
    """0 while it does not live."""
    started_at: float = 0.0
    start_at: float | None = None
    """When it is due to be started again, on the monotonic clock."""

    def start(self) -> None:
        """Fork. The parent must have no threads."""
        self.start_at = None
        self.started_at = time.monotonic()
        parent_pid = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _live(self.spec, parent_pid)

    def signal(self, number: int) -> None:
        """Send a signal, if it lives. Its pid cannot be another's: it is ours to reap."""
        if self.pid:
            os.kill(self.pid, number)

    def ended(self) -> float:
        """Note its end; return how many seconds it lived."""
        self.pid = 0
        return time.monotonic() - self.started_at


def _live(spec: ChildSpec, parent_pid: int) -> NoReturn:
    """Run as the child, never to return into the parent's code."""
    status = 1
    try:
        _leave_the_parent_behind(parent_pid)
        name_process(spec.name)
        result = spec.run()
        status = result if isinstance(result, int) else 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except Misconfigured as error:
        print(f"millrace {spec.name}: {error}", file=sys.stderr)  # noqa: T201 - the process ends with it
        status = EXIT_MISCONFIGURED
    except BaseException:  # noqa: BLE001 - nothing may unwind into the supervisor's frames
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _leave_the_parent_behind(parent_pid: int) -> None:
    die_with_parent(parent_pid)
    # A group of its own: Ctrl-C goes to the supervisor alone, which stops its children in order.
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
