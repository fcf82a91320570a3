"""What the kernel is told about a child: to end it with its parent, and what to call it.

A child that outlives its parent would hold ports, locks and memory that nobody watches any more.
"""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_NAME = 15


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, however that comes about; survives `exec`.

    `parent_pid` is what `os.getpid()` said before the fork: a parent that died in between is noticed.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def name_process(name: str) -> None:
    """Show `name`, or its first 15 bytes, where `ps -o comm` and `top` show programs."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def _prctl(option: int, value: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")
