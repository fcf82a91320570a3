"""Ending bubblewraps whose service was killed in the very moment they were started.

bubblewrap's inner process waits for its outer one to write the user mapping. If the service and with it the
outer one are killed just then, the inner one waits for ever: `--die-with-parent` is not in force yet.
Such a process has been handed to process 1, runs nothing, and is recognised by its command line.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sandboxes.local.bubblewrap import DATA_FOLDER

_PROC = Path("/proc")


def end_orphans() -> int:
    """Kill bubblewraps of ours that nobody waits for; return how many there were."""
    if b"millrace" in _command_line(1):
        return 0  # process 1 is a service itself: its children are no orphans
    count = 0
    for pid in _orphans():
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            count += 1
    return count


def _orphans() -> Iterator[int]:
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and _is_orphan(int(folder.name)):
            yield int(folder.name)


def _is_orphan(pid: int) -> bool:
    words = _command_line(pid).split(b"\0")
    is_ours = words[0].endswith(b"bwrap") and DATA_FOLDER.encode() in words and b"--die-with-parent" in words
    return is_ours and _parent(pid) == 1


def _command_line(pid: int) -> bytes:
    with suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_bytes()
    return b""


def _parent(pid: int) -> int:
    """Return the parent's process id, 0 if the process is gone. The name before it may hold anything."""
    with suppress(OSError):
        return int((_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0
