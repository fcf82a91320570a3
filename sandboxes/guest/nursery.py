"""The warm process's work: a loop with requests on one side and children that end on the other."""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from . import isolation, job, kernel, state, warmth
from .keeper import ended, kill, reap, say, watch_deaths

_DESCRIPTORS_MAX = 16
_MESSAGE_BYTES_MAX = 4096


class Nursery:
    """Where children are made, and their ends told."""

    def __init__(self, control: socket.socket, keeper: socket.socket, config: dict[str, Any]) -> None:
        self._control = control
        self._keeper = keeper
        self._confinement = isolation.Confinement(
            folders=[isolation.Folder(*folder) for folder in config["folders"]],
            pids_max=config["pids_max"],
            seccomp=base64.b64decode(config["seccomp"]),
        )
        self._inits: dict[int, int] = {}
        self._modules = warmth.preload(config["modules"])
        warmth.touch()
        state.warm_up()

    def serve(self) -> None:
        """Answer requests until the service closes the socket."""
        deaths = watch_deaths()
        poller = select.poll()
        for fd in (self._control.fileno(), deaths):
            poller.register(fd, select.POLLIN)
        os.environ.clear()
        _hide_ourselves()
        warmth.freeze()
        say(self._control, {"ready": self._modules})
        while True:
            for fd, _ in poller.poll():
                if fd == deaths:
                    self._bury(deaths)
                else:
                    self._make_child()

    def _make_child(self) -> None:
        message, fds, _, _ = socket.recv_fds(
            self._control, _MESSAGE_BYTES_MAX, _DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            os._exit(0)
        name = json.loads(message)["make"]
        try:
            self._fork(name, isolation.Handles(fds[0], cgroups=fds[1:]))
        except OSError as error:
            say(self._control, {"refused": name, "error": str(error)})
        for fd in fds:
            os.close(fd)

    def _fork(self, name: int, handles: isolation.Handles) -> None:
        namespace, init, *leash = self._ask_for_init()
        kernel.setns(namespace, kernel.CLONE_NEWPID)
        os.close(namespace)
        pid = os.fork()
        if pid == 0:
            self._become_child(handles)
        self._inits[pid] = init
        pidfd = os.pidfd_open(pid)
        say(self._control, {"made": name, "pid": pid}, (init, pidfd, *leash))
        for fd in (pidfd, *leash):
            os.close(fd)

    def _ask_for_init(self) -> list[int]:
        self._keeper.send(b"?")
        answer, fds, _, _ = socket.recv_fds(self._keeper, 1, 3, socket.MSG_CMSG_CLOEXEC)
        if not answer:
            os._exit(0)  # the keeper is gone, and so are we in a moment
        return fds

    def _become_child(self, handles: isolation.Handles) -> None:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._control.detach()
            self._keeper.detach()
            isolation.isolate(self._confinement, handles)
            gc.enable()
        except BaseException as error:
            _fail(error)
        job.carry_out()

    def _bury(self, deaths: int) -> None:
        for pid, status, usage in reap(deaths):
            init = self._inits.pop(pid)
            kill(init)  # and with it whatever the program left running
            os.close(init)
            say(self._control, ended(pid, status, usage))


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
