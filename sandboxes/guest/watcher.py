"""Pid 1 of a warm child's namespace where there are no control groups: it watches memory.

It has a /proc of its own and one socket to the service, its leash. An order there is a number, the bytes
that all may hold; it answers with an account at once, when the watch is on, and again whenever more was held
than ever before. The service hangs up when all is over, and everything ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
from typing import Sequence  # noqa: UP035  3.9

from . import kernel
from .memory_watch import LOOK_MS, MemoryWatch

ORDER = struct.Struct(">Q")
ACCOUNT = struct.Struct(">?Q")
"""Whether it was too much, and the most that was held."""
_FIRST_CHILD = "/proc/2/root"
"""The child is the first after us, and we may look at its folders while it is nobody else's yet."""
_TOLD_FROM = 1 << 20
_DESCRIPTORS_MAX = 4096


def watch(leash: socket.socket, folders: Sequence[str]) -> None:
    """Give up every power, then watch until the service hangs up. Does not return."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.dup2(leash.fileno(), 0)
    os.closerange(1, _DESCRIPTORS_MAX)
    leash.detach()
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount_own_proc()
    kernel.forbid_new_privileges()
    kernel.drop_capabilities()
    kernel.set_dumpable(False)
    _serve(socket.socket(fileno=0), folders)


def _serve(leash: socket.socket, folders: Sequence[str]) -> None:
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    poll.poll()
    order = leash.recv(ORDER.size)
    if not order:
        os._exit(0)
    fds = [os.open(_FIRST_CHILD + folder, os.O_RDONLY | os.O_DIRECTORY) for folder in folders]
    memory = MemoryWatch(lambda: [os.fstatvfs(fd) for fd in fds], lambda: _tell(leash, memory))
    (memory.bytes_max,) = ORDER.unpack(order)
    _tell(leash, memory)
    told = _TOLD_FROM
    while not poll.poll(LOOK_MS):
        memory.look()
        if memory.peak > told:
            _tell(leash, memory)
            told = memory.peak + memory.peak // 8
    os._exit(0)


def _tell(leash: socket.socket, memory: MemoryWatch) -> None:
    """Send the account; one that finds no room is made up for by the next."""
    with contextlib.suppress(BlockingIOError):
        leash.send(ACCOUNT.pack(memory.is_over, memory.peak), socket.MSG_DONTWAIT)
