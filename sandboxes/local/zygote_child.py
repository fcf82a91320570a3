"""A child of a zygote as the service sees it: isolated, warm, waiting for one program.

It takes the orders of the cold path's `Guest`, so what runs programs need not know which it has. How a
program ended is told by the zygote, which waited for it: the program itself is given no way to talk to us.
Only an exit status may be had sooner, from a link that the guest's Python leaves as it goes.
"""

import asyncio
import os
import re
import select
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandboxes.guest.script import LAST_WORD
from sandboxes.local.bubblewrap import PROGRAM_FOLDER
from sandboxes.local.control import Control, Ended, Hello
from sandboxes.local.futures import settle
from sandboxes.local.zygote_leash import Leash, without_init
from sandboxes.protocol import SandboxFailed
from sandboxes.state_files import BOOT, FOLDER, NO_PLAN

_STATUS = re.compile("[0-9]{1,3}")
_STATUS_MAX = 255


@dataclass(frozen=True, slots=True)
class ChildHandles:
    """What the zygote says about a child it made."""

    pid: int
    """As the zygote counts."""
    init_pidfd: int
    """Pid 1 of the child's pid namespace: its end is everybody's."""
    pidfd: int
    leash: Leash | None
    """To a pid 1 that watches memory."""

    @classmethod
    def of(cls, pid: int, init_pidfd: int, pidfd: int, leash: int = -1) -> "ChildHandles":
        """Take what the zygote sent."""
        return cls(pid, init_pidfd, pidfd, Leash(leash) if leash >= 0 else None)

    def close(self) -> None:
        """Let go of all."""
        os.close(self.init_pidfd)
        os.close(self.pidfd)
        if self.leash:
            self.leash.close()


class Child:
    """One sandbox that stands ready."""

    def __init__(self, handles: ChildHandles, control: "ChildControl", hello: Hello) -> None:
        self.control = control
        self.pid = hello.pid
        """Of the child, as the host counts."""
        self.data_fd = hello.data_fd
        self.program_fd = hello.program_fd
        self.on_close: Callable[[], None] = lambda: None
        self._handles = handles
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it still waits for an order, as far as we have heard."""
        return not self.control.is_over

    def kill(self) -> bool:
        """Kill every process of the sandbox, at once, and as often as you like; say whether any was left."""
        return (self._closing is None or not self._closing.done()) and _kill(self._handles.init_pidfd)

    async def reaped(self) -> None:
        """Wait until the last of its processes is gone."""
        await readable(self._handles.init_pidfd)

    async def close(self) -> None:
        """End it and let go of its files, once nothing runs any more. Safe to call twice."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self.kill()
        self.control.close()
        await self.reaped()
        os.close(self.data_fd)
        os.close(self.program_fd)
        self._handles.close()
        self.on_close()


class ChildControl(Control):
    """Orders to a child. If it ends without a word, the zygote's word is awaited."""

    def __init__(self, ours: socket.socket, handles: ChildHandles, warm_command: Sequence[str]) -> None:
        super().__init__(ours)
        self._warm_command = tuple(warm_command)
        self._pidfd = handles.pidfd
        self._init_pidfd = handles.init_pidfd
        self._leash = handles.leash
        self._program_fd = -1
        self._told: Ended | None = None
        self.is_over = False

    async def hello(self) -> Hello | None:
        """Wait until the child is ready; None if it never will be."""
        if said := await super().hello():
            self._program_fd = said.program_fd
            return said
        return None

    async def start(self, order: dict[str, Any], fds: Sequence[int]) -> asyncio.Future[Ended]:
        """Start a command as `Control.start` does; the guest's Python runs a script in the warm process."""
        argv = order["argv"]
        head = len(self._warm_command)
        if len(argv) > head and tuple(argv[:head]) == self._warm_command:
            order = order | _script(*argv[head:])
        if self._leash:
            order = order | {"rlimits": without_init(order["rlimits"])}
            await self._leash.watch(order["memory_watch_bytes"])
        return await super().start(order, fds)

    def kill(self) -> None:
        """Kill the program; the zygote then kills what it started, and tells."""
        _kill(self._pidfd)

    def tell(self, ended: Ended) -> None:
        """Hear from the zygote how the process ended."""
        self.is_over = True
        self._told = ended = self._leash.account(ended) if self._leash else ended
        _kill(self._init_pidfd)  # what it left running; the zygote does so too, unless it crashed
        settle(self._waiter, ended)

    def hear_silence(self) -> None:
        """Take the exit status that a program has left, if it has, rather than wait for the kernel's word.

        A program may forge it, as it may choose its exit status anyway; whatever goes on running dies now.
        Without a control group nobody would tell what it used, so there the kernel's word is awaited.
        """
        status = None if self._leash else _last_word(self._program_fd)
        if status is not None and not self.is_over:
            self.tell(Ended(status=status << 8, cpu_s=0.0, memory_bytes_peak=0, over_memory=False))

    def lose(self) -> None:
        """Hear that nobody is left who could tell."""
        self.is_over = True
        settle(self._waiter, SandboxFailed("The zygote and all it made are gone."))

    def close(self) -> None:
        """Hang up; nothing more will be heard."""
        super().close()
        self.lose()

    def _end(self) -> None:
        if not self._gone:
            self._gone = True
            self._loop.remove_reader(self._socket)
            if self._told or self.is_over:
                settle(self._waiter, self._told or SandboxFailed("The sandbox is gone."))


def _last_word(program_fd: int) -> int | None:
    """Return the exit status in the link that the guest may have left; it may have left anything."""
    try:
        word = os.readlink(Path(LAST_WORD).name, dir_fd=program_fd)
    except OSError:
        return None
    return int(word) if _STATUS.fullmatch(word) and int(word) <= _STATUS_MAX else None


def _script(script: str, *args: str) -> dict[str, Any]:
    """Return the words for a script that runs in the warm process, which needs nothing to boot."""
    if script != f"{PROGRAM_FOLDER}/{FOLDER}/{BOOT}":
        return {"script": script, "args": args}
    state, tools, script, *rest = args
    plans = {"state": state, "tools": tools}
    return {"script": script, "args": rest} | {what: plan for what, plan in plans.items() if plan != NO_PLAN}


def _kill(pidfd: int) -> bool:
    """Kill a process; say whether it was still there."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _is_gone(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


async def readable(fd: int) -> None:
    """Wait until a pidfd's process is gone. Any number may wait for one."""
    if _is_gone(fd):
        return
    loop = asyncio.get_running_loop()
    own = os.dup(fd)
    ready = asyncio.Event()
    loop.add_reader(own, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(own)
        os.close(own)
