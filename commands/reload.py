"""`API_RELOAD`: a run for work on Millrace itself, started again whenever its source changes.

The command runs as a child that is told `API_RELOAD=false`; a new life imports everything anew, which
nothing inside the old one could. Nobody should run this where clients are: each change cuts them off.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType

from watchfiles import DefaultFilter, watch

from infra.process.child import EXIT_MISCONFIGURED
from infra.process.lifeline import die_with_parent

_ROOMS = ("schemas", "infra", "streams", "sandboxes", "edge", "handlers", "commands")
_SUFFIXES = (".py", ".lua", ".js", ".R", ".php", ".java")
_LOOK_MS = 200
_STOP_WITHIN_S = 60.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Tell = Callable[[str], None]


def run_reloading(tell: Tell, source: Path = Path(__file__).parents[1]) -> int:
    """Run this very command line until told to stop, or until it stops by itself; return its exit status."""
    command = [sys.executable, "-P", "-m", "millrace", *sys.argv[1:]]
    watched = [source / room for room in _ROOMS]
    with _stop_signals() as stopped:
        child = _start(command)
        changes = watch(
            *watched,
            watch_filter=_SourceFilter(),
            stop_event=stopped,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
        )
        told = False
        for changed in changes:
            if changed:
                tell(f"{Path(min(changed)[1]).relative_to(source)} changed; starting again")
                _end(child)
                child, told = _start(command), False
            elif child.poll() in {0, EXIT_MISCONFIGURED}:
                break  # it was told to stop, or the settings are wrong: no change of source helps
            elif child.poll() is not None and not told:
                told = True
                tell(f"ended with status {child.poll()}; starting again once a source file changes")
        return _end(child)


class _SourceFilter(DefaultFilter):
    """What a process reads when it starts."""

    def __call__(self, change: object, path: str) -> bool:
        return path.endswith(_SUFFIXES) and super().__call__(change, path)  # type: ignore[arg-type]


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    """Start in a group of its own, so that Ctrl-C comes to us and is passed on once."""
    parent_pid = os.getpid()
    return subprocess.Popen(
        command,
        env={**os.environ, "API_RELOAD": "false"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(parent_pid),  # noqa: PLW1509 - it only makes two system calls
    )


def _end(child: "subprocess.Popen[bytes]") -> int:
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


@contextmanager
def _stop_signals() -> Iterator[Event]:
    """Have the signals that stop us set an event instead."""
    stopped = Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in _STOP_SIGNALS}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
