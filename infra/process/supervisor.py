"""Starts children in order, starts crashed ones again, stops all stage by stage and leaves nothing behind.

Signals are not handled but waited for (sigtimedwait), so the supervisor is one plain loop: what
happened, then what is due.
"""

import gc
import os
import signal
import time
from collections.abc import Callable, Sequence

from infra.errors import Misconfigured
from infra.process.child import EXIT_MISCONFIGURED, Child, ChildSpec

_STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_WATCHED = _STOP_SIGNALS | {signal.SIGCHLD}
_READY_WITHIN_S = 60.0
_POLL_S = 0.02
_IDLE_S = 3600.0

Tell = Callable[[str], None]


class Supervisor:
    """Keeps `specs` alive until told to stop. `tell` says what happens, in sentences.

    `on_stopping` is called before the first child is told to stop: to let go of what children share.
    """

    def __init__(
        self, specs: Sequence[ChildSpec], tell: Tell, on_stopping: Callable[[], None] = lambda: None
    ) -> None:
        self._on_stopping = on_stopping
        self._children = [Child(spec) for spec in specs]
        self._tell = tell
        self._stop_asked = 0
        self._fatal_status: int | None = None

    def run(self) -> int:
        """Return the exit status once every child is gone: 0 after a stop that was asked for."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        _share_memory_with_children()
        try:
            self._start_all()
            while not self._stopping:
                self._wait(self._next_start_in_s())
                self._start_what_is_due()
        finally:
            self._stop_all()
        return self._fatal_status or 0

    @property
    def _stopping(self) -> bool:
        return self._stop_asked > 0 or self._fatal_status is not None

    def _start_all(self) -> None:
        for child in self._children:
            if self._stopping:
                return
            child.start()
            if child.spec.ready is not None:
                self._wait_until_ready(child, child.spec.ready)

    def _wait_until_ready(self, child: Child, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._stopping and not ready():
            if not child.pid:
                raise Misconfigured(f"{child.spec.name} did not start{child.spec.where_to_look}")
            if time.monotonic() > deadline:
                late = f"{child.spec.name} was not ready within {_READY_WITHIN_S:.0f} s"
                raise Misconfigured(f"{late}{child.spec.where_to_look}")
            self._wait(_POLL_S)

    def _wait(self, seconds: float) -> None:
        """Wait for one signal, at most so long, and take note of what it says."""
        info = signal.sigtimedwait(_WATCHED, max(0.0, seconds))
        if info is not None and info.si_signo in _STOP_SIGNALS:
            self._stop_asked += 1
        self._reap()

    def _reap(self) -> None:
        """Collect whoever ended; as the first process of a container that can be anybody."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.pid == pid:
                    self._after_end(child, os.waitstatus_to_exitcode(status))

    def _after_end(self, child: Child, status: int) -> None:
        lived_s = child.ended()
        if self._stopping or (status == 0 and not child.spec.restart):
            return
        if status == EXIT_MISCONFIGURED:
            self._fatal_status = status
            return
        ended = f"{child.spec.name} {_how_it_ended(status)} after {lived_s:.1f} s"
        if not child.spec.restart:
            self._tell(ended)
            return
        wait_s = child.backoff.after(lived_s)
        child.start_at = time.monotonic() + wait_s
        self._tell(f"{ended}; starting it again {f'in {wait_s:.1f} s' if wait_s else 'at once'}")

    def _next_start_in_s(self) -> float:
        due = [child.start_at for child in self._children if child.start_at is not None]
        return min(due) - time.monotonic() if due else _IDLE_S

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not self._stopping and child.start_at is not None and child.start_at <= now:
                child.start()

    def _stop_all(self) -> None:
        """Stop stage by stage: nobody loses what it still needs. Asked twice, patience ends."""
        self._on_stopping()
        for stage in sorted({child.spec.stage for child in self._children}, reverse=True):
            members = [child for child in self._children if child.spec.stage == stage]
            started = time.monotonic()
            for child in members:
                child.signal(signal.SIGTERM)
            for child in members:
                self._wait_for_end(child, started + child.spec.stop_grace_s)

    def _wait_for_end(self, child: Child, deadline: float) -> None:
        while child.pid and self._stop_asked < 2 and time.monotonic() < deadline:
            self._wait(deadline - time.monotonic())
        if child.pid:
            self._tell(f"{child.spec.name} did not stop in time and is killed")
            child.signal(signal.SIGKILL)
            os.waitpid(child.pid, 0)
            child.ended()


def _share_memory_with_children() -> None:
    """Keep the collector from writing into the pages that children share with us."""
    gc.collect()
    gc.freeze()


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
