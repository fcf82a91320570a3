"""What the kernel is told about a child: to end it with its parent, and what to call it.

A child that outlives its parent would hold ports, locks and memory that nobody watches any more.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_GET_PDEATHSIG = 2
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, however that comes about; survives `exec`.

    `parent_pid` is what `os.getpid()` said before the fork: a parent that died in between is noticed.
    """
    _tie_to(parent_pid, signal.SIGKILL)


@contextmanager
def lifeline_kept() -> Iterator[None]:
    """Tie this process to its parent again after a block that changes who its thread is.

    The kernel forgets the tie whenever the credentials of the thread change, file system user included.
    """
    number, parent_pid = ctypes.c_int(), os.getppid()
    _prctl(_PR_GET_PDEATHSIG, ctypes.byref(number))
    try:
        yield
    finally:
        if number.value:
            _tie_to(parent_pid, number.value)


def adopt_orphans() -> None:
    """Have every descendant whose parent ends become this process's child, rather than that of process 1."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name_process(name: str) -> None:
    """Show `name`, or its first 15 bytes, where `ps -o comm` and `top` show programs."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def _tie_to(parent_pid: int, number: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), number)


def _prctl(option: int, value: object) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")
