"""The warm process. It never runs anybody's code: it makes children, which isolate themselves and wait.

    launcher ── keeper, pid 1 of an own pid namespace ── zygote ── children, each in a namespace below
                      └── an init for each of those namespaces

On the control socket (SOCK_SEQPACKET) the service sends the configuration, then one message for each child
it wants, with the child's descriptors; it gets `ready`, and for each child `made` (with pidfds of its init
and of itself) and `ended`.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import select
import signal
import socket
from typing import Any

from . import figures, isolation, job, kernel, warmth
from .keeper import Keeper, ended, kill, reap, say, watch_deaths

_DESCRIPTORS_MAX = 16
_MESSAGE_BYTES_MAX = 1 << 18
_OOM_SCORE = "500"


def main(control_fd: int) -> None:
    """Serve until the service goes away. In a child: carries out the job and does not return."""
    os.dup2(control_fd, isolation.JOB_FD, inheritable=False)  # children put their job socket here
    if control_fd != isolation.JOB_FD:
        os.close(control_fd)
    control = socket.socket(fileno=isolation.JOB_FD)
    config = json.loads(control.recv(_MESSAGE_BYTES_MAX))
    with contextlib.suppress(OSError):
        isolation.write("/proc/self/oom_score_adj", _OOM_SCORE)  # we go before the service does
    keeper = _fork_below_a_keeper(control)
    _Zygote(control, keeper, config).serve()


def _fork_below_a_keeper(control: socket.socket) -> socket.socket:
    """Fork twice, into a pid namespace of our own; return in the zygote, with its way to ask the keeper."""
    kernel.unshare(kernel.CLONE_NEWPID)
    if keeper := os.fork():
        control.close()
        os._exit(os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1]) & 0xFF)
    kernel.unshare(kernel.CLONE_NEWNS)
    isolation.mount_own_proc()
    kernel.clear_ambient_capabilities()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if zygote := os.fork():
        ours.close()
        Keeper(control, theirs, zygote).serve()
    theirs.close()
    return ours


class _Zygote:
    """The loop: requests on one side, children that end on the other."""

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
        if "matplotlib.pyplot" in self._modules:
            figures.save_on_show()
        warmth.touch()

    def serve(self) -> None:
        """Answer requests until the service closes the socket."""
        deaths = watch_deaths()
        poller = select.poll()
        for fd in (self._control.fileno(), deaths):
            poller.register(fd, select.POLLIN)
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
        namespace, init = self._ask_for_init()
        kernel.setns(namespace, kernel.CLONE_NEWPID)
        os.close(namespace)
        pid = os.fork()
        if pid == 0:
            self._become_child(handles)
        self._inits[pid] = init
        pidfd = os.pidfd_open(pid)
        say(self._control, {"made": name, "pid": pid}, (init, pidfd))
        os.close(pidfd)

    def _ask_for_init(self) -> list[int]:
        self._keeper.send(b"?")
        answer, fds, _, _ = socket.recv_fds(self._keeper, 1, 2, socket.MSG_CMSG_CLOEXEC)
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


def _fail(error: BaseException) -> None:
    """Say on the service's side why there is no sandbox. Nobody's code was seen, so nothing is lost."""
    with contextlib.suppress(OSError):
        os.write(2, f"a sandbox could not be isolated: {error!r}\n".encode("utf-8", "replace"))
    os._exit(70)
