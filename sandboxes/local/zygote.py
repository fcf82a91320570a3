"""One zygote as the service sees it: a warm Python in an outer bubblewrap that is asked for children."""

import asyncio
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from sandboxes.local.control import Ended, Hello, control_pair
from sandboxes.local.futures import settle
from sandboxes.local.launch import Inheritance
from sandboxes.local.zygote_child import Child, ChildControl, ChildHandles, readable
from sandboxes.local.zygote_wall import ZygoteConfig, guest_config, raise_wall
from sandboxes.protocol import SandboxFailed, SandboxUnavailable

_MESSAGE_BYTES_MAX = 4096
_COMPLAINT_BYTES = 2000


class Zygote:
    """A warm process, the children it made, and what it says about them."""

    def __init__(
        self, process: subprocess.Popen[bytes], control: socket.socket, config: ZygoteConfig
    ) -> None:
        self.modules: Sequence[str] = ()
        """Those it has imported of the ones it was asked to."""
        self.made = 0
        """How many children so far."""
        self.born = time.monotonic()
        self.children: set[Child] = set()
        self.on_change: Callable[[], None] = lambda: None
        """Called when a child has gone, or the zygote itself."""
        self.can_make = False
        """False before it is ready and after it died; its children may live on."""
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self._closing: asyncio.Task[None] | None = None
        self._control = control
        self._timeout_s = config.start_timeout_s
        self._command = config.command
        self._loop = asyncio.get_running_loop()
        self._names = itertools.count(1)
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[ChildHandles]] = {}
        self._controls: dict[int, ChildControl] = {}
        self._early: dict[int, Ended | None] = {}
        """Children made that nobody has taken note of yet, and the end of those that ended already."""
        self._said = b""
        self._making = 0
        self._heard = 0
        """How many messages came from it."""
        self._loop.add_reader(control, self._read)
        assert process.stderr
        self._stderr = process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        self._loop.add_reader(self._stderr, self._listen)

    @classmethod
    async def start(cls, config: ZygoteConfig, modules: Sequence[str]) -> "Zygote":
        """Start one and wait until it is warm.

        Raises:
            SandboxUnavailable: the host is out of processes, descriptors or memory.
            SandboxFailed: it does not come to stand; the message says what bubblewrap or Python said.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs, Inheritance() as inheritance:
                inheritance.keep(theirs.fileno())
                process = raise_wall(config, inheritance, theirs.fileno())
            ours.send(msgspec.json.encode(guest_config(config, modules)))
        except OSError as error:
            ours.close()
            raise SandboxUnavailable(f"No zygote can be started now: {error.strerror}.") from error
        zygote = cls(process, ours, config)
        await zygote._until_ready()
        return zygote

    @property
    def is_idle(self) -> bool:
        """Whether it has no child and makes none."""
        return not self.children and not self._making

    async def make(self, doors: Sequence[int] = ()) -> Child:
        """Have a child made, in the group of these `doors`, and isolated. Raises as `start` does."""
        self._making += 1
        try:
            return await self._make(doors)
        finally:
            self._making -= 1
            if not self.can_make:
                self.on_change()

    async def _make(self, doors: Sequence[int]) -> Child:
        name = next(self._names)
        ours, theirs = control_pair()
        waiting = self._waiting[name] = self._loop.create_future()
        try:
            with theirs:
                socket.send_fds(self._control, [b"%d" % name], [theirs.fileno(), *doors])
            self.made += 1
            async with asyncio.timeout(self._timeout_s):
                handles = await waiting
        except BaseException as error:
            ours.close()
            if isinstance(error, TimeoutError):
                self._note_silence()
            if isinstance(error, OSError):  # TimeoutError is one
                raise SandboxUnavailable("The zygote makes no child now.") from error
            raise
        finally:
            del self._waiting[name]
        return await self._greet(handles, ours)

    def _note_silence(self) -> None:
        """Let another one do it. One that is silent as long again hangs: nothing that it made can end."""
        self._stop_making()
        self._loop.call_later(self._timeout_s, self._end_if_silent, self._heard)

    def _end_if_silent(self, heard: int) -> None:
        if self._heard == heard and self._closing is None:
            self._process.kill()

    async def close(self) -> None:
        """End it and everything it made; goes on to its end even if the caller is cancelled."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._lose()
        self._process.kill()
        await asyncio.gather(*(child.close() for child in list(self.children)))
        await readable(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self._loop.remove_reader(self._stderr)
        self._stderr.close()

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ready
        except (TimeoutError, SandboxFailed):
            await self.close()
            told = self._said.decode(errors="replace").strip() or "it said nothing."
            raise SandboxFailed(f"The zygote does not come to stand: {told}") from None
        except asyncio.CancelledError:
            await self.close()
            raise

    async def _greet(self, handles: ChildHandles, ours: socket.socket) -> Child:
        control = self._controls[handles.pid] = ChildControl(ours, handles, self._command)
        if early := self._early.pop(handles.pid, None):
            control.tell(early)
        try:
            hello = await self._hello(control)
        except BaseException:
            del self._controls[handles.pid]
            control.kill()
            control.close()
            handles.close()
            raise
        child = Child(handles, control, hello)
        child.on_close = lambda: self._forget(child, handles.pid)
        self.children.add(child)
        return child

    async def _hello(self, control: ChildControl) -> Hello:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                if hello := await control.hello():
                    return hello
        said = self._said.decode(errors="replace").strip()
        raise SandboxFailed(f"A child of the zygote could not be isolated. {said}")

    def _forget(self, child: Child, pid: int) -> None:
        self.children.discard(child)
        self._controls.pop(pid, None)
        self.on_change()

    def _listen(self) -> None:
        """Take what bubblewrap, Python and children complain about; the last of it is kept."""
        said = self._stderr.read(_COMPLAINT_BYTES)
        if said == b"":
            self._loop.remove_reader(self._stderr)
        self._said = (self._said + (said or b""))[-_COMPLAINT_BYTES:]

    def _read(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES_MAX, 3)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._lose()
            return
        self._heard += 1
        self._hear(msgspec.json.decode(data), fds)

    def _hear(self, message: dict[str, Any], fds: list[int]) -> None:
        match message:
            case {"ready": modules}:
                self.modules = modules
                self.can_make = True
                settle(self._ready, None)
            case {"made": name, "pid": pid}:
                self._hear_made(name, ChildHandles.of(pid, *fds))
            case {"refused": name, "error": error}:
                settle(self._waiting.get(name), SandboxFailed(f"The zygote can make no child: {error}."))
            case {"ended": pid}:
                self._hear_ended(pid, message)
            case {"crashed": _}:
                self._stop_making()

    def _hear_made(self, name: int, handles: ChildHandles) -> None:
        if name in self._waiting:
            self._early[handles.pid] = None
            settle(self._waiting[name], handles)
            return
        handles.close()  # nobody waits any more; its job socket is closed, so it ends

    def _hear_ended(self, pid: int, message: dict[str, Any]) -> None:
        ended = Ended(
            status=message["status"],
            cpu_s=message["cpu_s"],
            memory_bytes_peak=message["rss_kb"] * 1024,
            over_memory=False,
        )
        if control := self._controls.get(pid):
            control.tell(ended)
        elif pid in self._early:
            self._early[pid] = ended

    def _stop_making(self) -> None:
        self.can_make = False
        for waiting in self._waiting.values():
            settle(waiting, SandboxFailed("The zygote crashed."))
        self.on_change()

    def _lose(self) -> None:
        """The socket is at its end: nobody is left on the other side, or we want no more of it."""
        if self._control.fileno() < 0:
            return
        self._loop.remove_reader(self._control)
        self._control.close()
        settle(self._ready, SandboxFailed("The zygote is gone."))
        for control in self._controls.values():
            control.lose()
        self._stop_making()
