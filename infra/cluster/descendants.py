"""Ends what a command left running, but not the cluster, which has the same ancestor."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from infra.cluster.home import Home
from infra.cluster.leftovers import is_part


def end_descendants(home: Home) -> None:
    """Kill every process below this one that is not of the cluster; what they leave becomes ours in turn."""
    while found := [pid for pid in _children(os.getpid()) if not is_part(pid, home)]:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children(parent: int) -> Iterator[int]:
    for folder in Path(f"/proc/{parent}/task").iterdir():
        with suppress(OSError):
            yield from map(int, (folder / "children").read_text().split())
