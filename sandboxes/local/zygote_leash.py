"""What limits a warm child where there are no control groups: a watch on memory, and processes counted.

Pid 1 of the child's namespace watches (`guest/watcher.py`); this is our end of the socket to it. What comes
over it is the word of a process that no program can reach.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from sandboxes.guest.watcher import ACCOUNT, ORDER
from sandboxes.local.cgroups import INIT_PROCESSES
from sandboxes.local.control import Ended
from sandboxes.protocol import SandboxFailed


class Leash:
    """The socket to one watcher."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)

    async def watch(self, memory_bytes_max: int) -> None:
        """Have it watch; returns once it does. Raises `SandboxFailed`."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._socket, ORDER.pack(memory_bytes_max))
            answer = await loop.sock_recv(self._socket, ACCOUNT.size)
        except OSError as error:
            raise SandboxFailed(f"Nothing watches the sandbox's memory: {error.strerror}.") from error
        if not answer:
            raise SandboxFailed("Nothing watches the sandbox's memory.")

    def account(self, ended: Ended) -> Ended:
        """Return `ended` with what the watcher saw."""
        is_over, peak = False, 0
        with suppress(OSError):  # all is read, or it is gone
            while len(word := self._socket.recv(ACCOUNT.size)) == ACCOUNT.size:
                is_over, peak = ACCOUNT.unpack(word)
        peak = max(peak, ended.memory_bytes_peak)
        return msgspec.structs.replace(ended, memory_bytes_peak=peak, over_memory=is_over)

    def close(self) -> None:
        """Let go of it; whatever it watches ends."""
        self._socket.close()


def without_init(rlimits: Mapping[str, int]) -> dict[str, int]:
    """Return limits that count processes as the child's user namespace does, which pid 1 is not in."""
    return {**rlimits, "NPROC": rlimits["NPROC"] - INIT_PROCESSES}


def cpu_s_of(pid: int) -> float:
    """Return the CPU seconds a process has used, exactly; 0 where the kernel does not count (proc(5))."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:  # noqa: PTH123 - one short read
            return int(file.read().split()[0]) / 1e9
    except OSError:
        return 0.0
