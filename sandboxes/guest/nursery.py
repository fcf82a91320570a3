"""The warm process's work: a loop with requests on one side and children that end on the other.

Whatever it writes to while children live is a page copied, so its loop keeps to few objects, and to what
happens in C.
"""

from __future__ import annotations

import _socket
import array
import base64
import contextlib
import os
import select
import signal
import sys
from typing import Any, NamedTuple

from . import hooks, isolation, job, kernel, pinning, state, warmth
from .isolation import Confinement, Folder, Handles
from .keeper import ended, kill, say
from .row import Row, Slot

_DESCRIPTORS_MAX = 16
_ANCILLARY_BYTES_MAX = _socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
_REQUEST_BYTES_MAX = 64


class _Living(NamedTuple):
    """A child, and the pidfd of pid 1 above it."""

    pid: int
    init: int


class Nursery:
    """Where children are made, and their ends told."""

    def __init__(self, control: Any, keeper: Any, config: dict[str, Any]) -> None:
        self._control = control
        self._keeper = keeper
        self._confinement = Confinement(
            folders=[Folder(*folder) for folder in config["folders"]],
            pids_max=config["pids_max"],
            seccomp=base64.b64decode(config["seccomp"]),
        )
        self._isolations: dict[int, tuple[Handles, Row]] = {}
        self._living: dict[int, _Living] = {}
        self._poller = select.poll()
        os.environ.clear()
        os.environ.update(config["environment"])
        job.USUAL_ENVIRONMENT.update(config["environment"])
        self._modules = warmth.preload(config["modules"])
        warmth.touch()
        state.warm_up()

    def serve(self) -> None:
        """Answer requests until the service closes the socket."""
        for number, handler in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGCHLD, signal.SIG_DFL),
        ):
            signal.signal(number, handler)  # whatever we were started with, children have what Python has
        control = self._control.fileno()
        self._poller.register(control, select.POLLIN)
        _hide_ourselves()
        hooks.hold_back()
        warmth.freeze()
        pinning.pin_what_is_written(job.rehearse)
        say(self._control, b'{"ready": [%s]}' % ", ".join(f'"{name}"' for name in self._modules).encode())
        while True:
            for fd, _ in self._poller.poll():
                if fd == control:
                    self._make_child()
                else:
                    self._bury(fd)

    def _make_child(self) -> None:
        name, fds = _receive(self._control, _REQUEST_BYTES_MAX)
        if not name:
            os._exit(0)
        try:
            self._fork(int(name), fds)
        except OSError as error:
            say(self._control, b'{"refused": %s, "error": "%s"}' % (name, str(error.strerror).encode()))
        for fd in fds:
            os.close(fd)

    def _fork(self, name: int, fds: array.array[int]) -> None:
        namespace, init, *leash = self._ask_for_init()
        kernel.setns(namespace, kernel.CLONE_NEWPID)
        os.close(namespace)
        steps = self._isolation_with(fds)
        pid = os.fork()
        if pid == 0:
            self._become_child(steps)
        pidfd = os.pidfd_open(pid)
        self._living[pidfd] = _Living(pid, init)
        self._poller.register(pidfd, select.POLLIN)
        say(self._control, b'{"made": %d, "pid": %d}' % (name, pid), init, pidfd, *leash)
        for fd in leash:
            os.close(fd)

    def _ask_for_init(self) -> array.array[int]:
        self._keeper.send(b"?")
        answer, fds = _receive(self._keeper, 1)
        if not answer:
            os._exit(0)  # the keeper is gone, and so are we in a moment
        return fds

    def _isolation_with(self, fds: array.array[int]) -> Row:
        """Return the steps for a child that gets these descriptors: its job socket, and doors of groups."""
        if len(fds) not in self._isolations:
            handles = Handles(Slot(), [Slot() for _ in fds[1:]])
            self._isolations[len(fds)] = handles, isolation.steps(self._confinement, handles)
        handles, steps = self._isolations[len(fds)]
        for slot, fd in zip((handles.job, *handles.cgroups), fds):  # noqa: B905  3.9
            slot.set(fd)
        return steps

    def _become_child(self, steps: Row) -> None:
        try:
            steps.carry_out()
            job.get_ready()
        except BaseException as error:
            _fail(error)
        try:
            job.carry_out(self._control)
        finally:
            os._exit(70)

    def _bury(self, pidfd: int) -> None:
        living = self._living.pop(pidfd)
        self._poller.unregister(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(living.pid, 0)
        kill(living.init)  # and with it whatever the program left running
        os.close(living.init)
        say(self._control, ended(living.pid, status, usage))


def _receive(channel: Any, bytes_max: int) -> tuple[bytes, array.array[int]]:
    """Receive a message and the descriptors beside it."""
    data, ancillary, _, _ = channel.recvmsg(bytes_max, _ANCILLARY_BYTES_MAX, _socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for _, _, packed in ancillary:
        fds.frombytes(packed)
    return data, fds


def _hide_ourselves() -> None:
    """Let programs import what they call `guest`. Done once: a child that looks through them copies pages."""
    package = __name__.rpartition(".")[0]
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]


def _fail(error: BaseException) -> None:
    """Say on the service's side why there is no sandbox. Nobody's code was seen, so nothing is lost."""
    with contextlib.suppress(OSError):
        os.write(2, f"a sandbox could not be isolated: {error!r}\n".encode("utf-8", "replace"))
    os._exit(70)
