"""The system calls that Python has no words for, each as one plain function.

Owner of ctypes for the local sandbox. Numbers and structures are those of linux/openat2.h; `openat2`
has the number 437 on every machine that has it (Linux 5.6).
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from infra.process.lifeline import lifeline_kept

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_OPENAT2 = 437
_RESOLVE_NO_XDEV, _RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 1, 2, 4, 8
_STAY_INSIDE = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(directory: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open `path` below the directory descriptor, following no link and leaving no file system.

    Raises OSError: ELOOP at a symbolic link, EXDEV where the path leads outside.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, _STAY_INSIDE)
    opened = _libc.syscall(
        _OPENAT2, directory, os.fsencode(path), ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))
    )
    if opened < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return int(opened)


@contextmanager
def files_made_as(uid: int) -> Iterator[None]:
    """Make files as `uid` (user and group alike) within the block, which must not await.

    Root cannot make a file on a file system of a user namespace that knows no root (EOVERFLOW). It is
    the calling thread alone that changes, which is why this is no setuid. Elsewhere it does nothing.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    with lifeline_kept():
        _libc.setfsgid(uid)
        _libc.setfsuid(uid)
        try:
            yield
        finally:
            _libc.setfsuid(0)
            _libc.setfsgid(os.getegid())
