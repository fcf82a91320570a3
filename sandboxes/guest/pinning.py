"""What every child writes to is copied for it as it is forked, at once instead of page by page.

A page that a child writes to is copied by a fault, which costs twice what the copy does, and while the
child lives the zygote pays for its own writes in the same way. But what a device may be writing to is
copied by fork(2) itself, and the parent keeps its own pages (`folio_maybe_dma_pinned`, Linux 5.12).
Buffers of an io_uring are such pages, whether it is ever used or not. Which pages they shall be is found
out by a trial: a child goes the way that all will go, and the kernel says which pages it has copied.

Where a host lets us have no io_uring, or lock too little memory, all is as it would be without.
"""

from __future__ import annotations

import array
import ctypes
import itertools
import mmap
import os
from typing import Callable, Iterator, NamedTuple, Sequence  # noqa: UP035  3.9

# the same on every architecture: the calls are newer than the unified table
_SYS_IO_URING_SETUP = 425
_SYS_IO_URING_REGISTER = 427
_REGISTER_BUFFERS = 0
_PARAMETERS_BYTES = 120
_PRESENT, _OF_A_FILE, _ALONE = 1 << 63, 1 << 61, 1 << 56
"""Of an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst)."""
_ENTRY_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Place(NamedTuple):
    """The first page of a piece of memory, and the one behind it."""

    begin: int
    end: int


class _Buffer(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_void_p), ("size", ctypes.c_size_t))


def pin_what_is_written(trial: Callable[[], object]) -> int:
    """Have all pages copied in every fork that a child writes to in `trial`; return how many."""
    places = list(_writable())
    theirs = _read_in_a_child(places, trial)
    if not theirs:
        return 0
    ours = [_entries("self", begin, end) for begin, end in places]
    return _register(
        [
            number
            for (begin, _), us, them in zip(places, ours, theirs)  # noqa: B905  3.9
            for number, (own, copied) in enumerate(zip(us, them), begin)  # noqa: B905  3.9
            if own & copied & _PRESENT and copied & _ALONE and not (own | copied) & _OF_A_FILE
        ]
    )


def _read_in_a_child(places: Sequence[_Place], trial: Callable[[], object]) -> list[array.array[int]]:
    """Return what the kernel says of a child's pages after the trial; nothing if that cannot be known.

    Whatever we write to meanwhile is the child's alone as well, so this does no more than it must.
    """
    done, say = os.pipe()
    held, hold = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(hold)
            trial()
            os.write(say, b".")
            os.read(held, 1)
        finally:
            os._exit(0)
    os.close(say)
    try:
        return [_entries(pid, begin, end) for begin, end in places] if os.read(done, 1) else []
    except OSError:
        return []
    finally:
        for fd in (done, held, hold):
            os.close(fd)
        os.waitpid(pid, 0)


def _writable() -> Iterator[_Place]:
    """Yield where this process has memory to write to."""
    with open("/proc/self/maps") as file:
        for line in file.read().splitlines():
            addresses, rights = line.split(None, 2)[:2]
            if rights == "rw-p":
                begin, end = (int(address, 16) // mmap.PAGESIZE for address in addresses.split("-"))
                yield _Place(begin, end)


def _entries(process: int | str, begin: int, end: int) -> array.array[int]:
    """Return what the kernel says of a process's pages. Raises `OSError` if it does not."""
    pagemap = os.open(f"/proc/{process}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return array.array("Q", os.pread(pagemap, (end - begin) * _ENTRY_BYTES, begin * _ENTRY_BYTES))
    finally:
        os.close(pagemap)


def _register(pages: Sequence[int]) -> int:
    """Pin pages of ours for as long as this process lives; return how many."""
    buffers = [_Buffer(begin * mmap.PAGESIZE, count * mmap.PAGESIZE) for begin, count in _runs(pages)]
    table = (_Buffer * len(buffers))(*buffers)
    # children close it with all else that is not theirs
    ring = _libc.syscall(_SYS_IO_URING_SETUP, 1, ctypes.create_string_buffer(_PARAMETERS_BYTES))
    if ring < 0:
        return 0
    if _libc.syscall(_SYS_IO_URING_REGISTER, ring, _REGISTER_BUFFERS, table, len(buffers)) < 0:
        os.close(ring)
        return 0
    return len(pages)


def _runs(pages: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first page and the length of each run of neighbours."""
    for _, run in itertools.groupby(enumerate(pages), lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        yield numbers[0], len(numbers)
