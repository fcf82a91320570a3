"""Pid 1 above a zygote and its children: makes pid namespaces ahead of need, and outlives the zygote.

For each child to come it starts an init, pid 1 of a new namespace, which does nothing but be there. The
zygote asks for one with a byte and gets two descriptors, the namespace and the init's pidfd; a third where
the init is to watch memory, the service's end of its leash (`watcher`). If the zygote dies the keeper says
`crashed` to the service and goes on telling how the children, now its own, end.
"""

from __future__ import annotations

import _socket
import array
import contextlib
import os
import select
import signal
import socket
from typing import Any, NamedTuple, Sequence  # noqa: UP035  3.9

from . import kernel, watcher

_DESCRIPTORS_MAX = 4096
INIT_PLACE = "/init"
"""Where the sandbox has the program that does nothing (`local/idle.py`)."""
_CLOSE_STDIO = [(os.POSIX_SPAWN_CLOSE, fd) for fd in range(3)]  # all else is closed by an exec


class Init(NamedTuple):
    """Pid 1 of a namespace that is still empty."""

    pid: int
    fds: Sequence[int]
    """The namespace, the init's pidfd and, if it has one, its leash."""


class Keeper:
    """One loop over the zygote's requests and all deaths below."""

    def __init__(
        self, control: socket.socket, requests: socket.socket, zygote: int, watched: Sequence[str]
    ) -> None:
        """`watched`: folders in memory that an init is to watch, with all else; none if it need not."""
        self._control = control
        self._watched = watched
        self._requests = requests
        self._zygote = zygote
        self._own_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._inits: set[int] = set()

    def serve(self) -> None:
        """Serve until nobody is left. Does not return."""
        deaths = watch_deaths()
        poller = select.poll()
        for fd in (deaths, self._requests.fileno()):
            poller.register(fd, select.POLLIN)
        spare = self._make_init()
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if deaths in ready:
                self._bury(deaths)
            if self._requests.fileno() in ready:
                if not self._requests.recv(1):
                    poller.unregister(self._requests)  # the zygote is gone, and nobody will ask again
                    kill(spare.fds[1])
                    continue
                self._hand_over(spare)
                spare = self._make_init()

    def _bury(self, deaths: int) -> None:
        for pid, status, usage in reap(deaths):
            if pid == self._zygote:
                say(self._control, b'{"crashed": %d}' % status)
            elif pid in self._inits:
                self._inits.discard(pid)
            else:
                say(self._control, ended(pid, status, usage))

    def _hand_over(self, init: Init) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._requests, [b"i"], init.fds)
        for fd in init.fds:
            os.close(fd)

    def _make_init(self) -> Init:
        kernel.setns(self._own_namespace, kernel.CLONE_NEWPID)  # come back from the last one's
        kernel.unshare(kernel.CLONE_NEWPID)
        pid, leash = _start_watcher(self._watched) if self._watched else (_start_init(), [])
        self._inits.add(pid)
        namespace = os.open("/proc/self/ns/pid_for_children", os.O_RDONLY | os.O_CLOEXEC)
        return Init(pid, [namespace, os.pidfd_open(pid), *leash])


def _start_init() -> int:
    """Start pid 1 of a namespace, without powers, for an exec takes those that we have as an ordinary user.

    It is the smallest program there can be, started without a copy of us; where there is none for this
    processor, a fork of us does what it does.
    """
    try:
        return os.posix_spawn(INIT_PLACE, [INIT_PLACE], {}, file_actions=_CLOSE_STDIO)
    except OSError:
        pid = os.fork()
        if pid == 0:
            _be_init()
        return pid


def _start_watcher(folders: Sequence[str]) -> tuple[int, list[int]]:
    """Start a pid 1 that watches memory; return it and its leash."""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        pid = os.fork()
        if pid == 0:
            theirs.close()
            watcher.watch(ours, folders)
    return pid, [theirs.detach()]


def _be_init() -> None:
    """Give up everything and wait to be killed. The kernel reaps for a parent that ignores SIGCHLD."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.closerange(0, _DESCRIPTORS_MAX)
    kernel.forbid_new_privileges()
    kernel.drop_capabilities()
    kernel.set_dumpable(False)
    while True:
        signal.pause()


def watch_deaths() -> int:
    """Return a descriptor that can be read when a child of this process has ended."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def reap(deaths: int) -> list[tuple[int, int, Any]]:
    """Return pid, status and usage of the children that have ended."""
    with contextlib.suppress(BlockingIOError):
        os.read(deaths, 4096)
    dead: list[tuple[int, int, Any]] = []
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if not pid:
            return dead
        dead.append((pid, status, usage))


def ended(pid: int, status: int, usage: Any) -> bytes:
    """Return the message about a child's end."""
    cpu_s = usage.ru_utime + usage.ru_stime
    return b'{"ended": %d, "status": %d, "cpu_s": %f, "rss_kb": %d}' % (pid, status, cpu_s, usage.ru_maxrss)


def say(control: Any, message: bytes, *fds: int) -> None:
    """Tell the service, in JSON; without one there is nothing left to do."""
    beside = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        control.sendmsg([message], beside)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def kill(pidfd: int) -> None:
    """Kill a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # type: ignore[attr-defined,unused-ignore]
