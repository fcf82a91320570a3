"""The service's end of the socket to a sandbox's process 1. What comes over it is the guest's word only.

`init.py` describes the messages. Whatever cannot be read counts as the sandbox being broken.
"""

import array
import asyncio
import marshal
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from sandboxes.local.futures import settle
from sandboxes.protocol import SandboxFailed

_MESSAGE_BYTES_MAX = 4096
_MARSHAL_VERSION = 2
"""The same in every Python 3."""
_SO_PASSCRED = 16
_SCM_CREDENTIALS = 2


@dataclass(frozen=True, slots=True)
class Hello:
    """Who stands at the other end, as the kernel says, and the two folders it opened."""

    pid: int
    data_fd: int
    program_fd: int


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One command is over, and everything it started."""

    status: int
    """As `os.waitstatus_to_exitcode` understands it."""
    cpu_s: float
    memory_bytes_peak: int
    over_memory: bool


class _Limited(msgspec.Struct, frozen=True, kw_only=True):
    limited: float | None


class _Failed(msgspec.Struct, frozen=True, kw_only=True):
    failed: str


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Return our end, which learns who speaks, and the sandbox's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
    ours.setblocking(False)
    return ours, theirs


class Control:
    """Orders out, endings in. One command at a time."""

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._waiter: asyncio.Future[Ended] | None = None
        self._limited: asyncio.Future[float] | None = None
        self._gone = False
        self._sending = False
        self._kill_when_sent = False

    async def hello(self) -> Hello | None:
        """Wait until process 1 is ready; None if it never will be."""
        await self._readable()
        data, ancillary, _, _ = self._socket.recvmsg(1, 1024, socket.MSG_CMSG_CLOEXEC)
        pid, fds = _unpack(ancillary)
        if data and pid and len(fds) == 2:
            self._loop.add_reader(self._socket, self._read)  # in the place of the one that waited
            return Hello(pid, *fds)
        self._loop.remove_reader(self._socket)
        for fd in fds:
            os.close(fd)
        return None

    async def start(self, order: dict[str, Any], fds: Sequence[int]) -> asyncio.Future[Ended]:
        """Have a command started; the future ends with it.

        The future raises `SandboxFailed` if the command cannot be started or process 1 is gone.
        """
        self._waiter = self._loop.create_future()
        if self._gone:
            settle(self._waiter, SandboxFailed("The sandbox is gone."))
            return self._waiter
        message = self._packed({"do": "start"} | order)
        self._sending = True
        try:
            sent = socket.send_fds(self._socket, [message], list(fds))
            if sent < len(message):  # sending nothing fails if a quick program has hung up by now
                await self._loop.sock_sendall(self._socket, message[sent:])
        except OSError as error:
            settle(self._waiter, SandboxFailed(f"The sandbox takes no orders: {error.strerror}."))
        finally:
            self._sending = False
        if self._kill_when_sent:
            self.kill()
        return self._waiter

    def kill(self) -> None:
        """Have every process but process 1 killed, once an order on its way has arrived."""
        if self._sending:
            self._kill_when_sent = True
            return
        with suppress(OSError):
            self._socket.send(self._packed({"do": "kill"}))

    def hear_silence(self) -> None:
        """Hear that nobody can write to the command's output any more; its end is told all the same."""

    def limit(self, limits: dict[str, Any]) -> asyncio.Future[float]:
        """Put the command that runs under other limits; the future tells the CPU seconds it has used.

        The future raises `SandboxFailed` if that cannot be.
        """
        self._limited = self._loop.create_future()
        self._limited.add_done_callback(_look_at)
        try:
            self._socket.send(self._packed({"do": "limit"} | limits))
        except OSError as error:
            self._limited.set_exception(SandboxFailed(f"The sandbox takes no orders: {error.strerror}."))
        return self._limited

    def close(self) -> None:
        """Hang up; process 1 ends itself."""
        self._end()
        self._socket.close()

    def _packed(self, order: dict[str, Any]) -> bytes:
        """Return an order as it goes over the socket."""
        body = marshal.dumps(order, _MARSHAL_VERSION)
        return len(body).to_bytes(4, "big") + body

    async def _readable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._socket, _wake, ready)
        try:
            await ready
        except BaseException:
            self._loop.remove_reader(self._socket)
            raise

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._received = (self._received + data).split(b"\n")
        if not data or len(self._received) > _MESSAGE_BYTES_MAX:
            self._end()
        for line in lines:
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        try:
            message = _decode(line)
        except msgspec.DecodeError:
            self._end()
            return
        if isinstance(message, _Limited):
            self._settle_limits(message.limited)
        else:
            settle(self._waiter, message)

    def _end(self) -> None:
        if not self._gone:
            self._gone = True
            self._loop.remove_reader(self._socket)
            self._settle_limits(None)
            settle(self._waiter, SandboxFailed("Process 1 of the sandbox is gone."))

    def _settle_limits(self, cpu_s: float | None) -> None:
        if self._limited is None or self._limited.done():
            return
        if cpu_s is None:
            self._limited.set_exception(SandboxFailed("The sandbox cannot be limited."))
        else:
            self._limited.set_result(cpu_s)


def _look_at(future: "asyncio.Future[float]") -> None:
    """Let nobody report a failure as lost whose waiter had another one."""
    if not future.cancelled():
        future.exception()


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _decode(line: bytes) -> Ended | _Limited | SandboxFailed:
    with suppress(msgspec.ValidationError):
        return msgspec.json.decode(line, type=Ended)
    with suppress(msgspec.ValidationError):
        return msgspec.json.decode(line, type=_Limited)
    return SandboxFailed(f"The sandbox cannot start {msgspec.json.decode(line, type=_Failed).failed}.")


def _unpack(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[int, list[int]]:
    pid, fds = 0, array.array("i")
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == _SCM_CREDENTIALS:
            pid = struct.unpack("3i", data[:12])[0]
        elif kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return pid, list(fds)
