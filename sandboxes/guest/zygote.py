"""The warm process. It never runs anybody's code: it makes children, which isolate themselves and wait.

Three processes, so that a crash of the warm one costs no execution that runs:

    launcher ── keeper, pid 1 of an own pid namespace ── zygote ── children, each in a namespace below

On the control socket (SOCK_SEQPACKET) the service sends the configuration, then one message for each child
it wants, with the child's descriptors; it gets `ready`, and for each child `made` (with pidfds of its init
and of itself) and `ended`. If the zygote dies the keeper says `crashed` and goes on telling how the
children end.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
from typing import Any

from . import figures, isolation, job, kernel, warmth

_DESCRIPTORS_MAX = 16
_MESSAGE_BYTES_MAX = 1 << 18
_INIT = ["init", "-c", "trap '' CHLD; read nothing"]
"""Pid 1 of a child's namespace. The kernel reaps for a parent that ignores SIGCHLD; the read never ends."""
_OOM_SCORE = "500"


def main(control_fd: int) -> None:
    """Serve until the service goes away. In a child: carries out the job and does not return."""
    os.dup2(control_fd, isolation.JOB_FD, inheritable=False)  # children put their job socket here
    if control_fd != isolation.JOB_FD:
        os.close(control_fd)
    control = socket.socket(fileno=isolation.JOB_FD)
    config = json.loads(control.recv(_MESSAGE_BYTES_MAX))
    with contextlib.suppress(OSError):
        isolation._write("/proc/self/oom_score_adj", _OOM_SCORE)  # we go before the service does
    _become_keeper_and_zygote(control)
    _Zygote(control, config).serve()


def _become_keeper_and_zygote(control: socket.socket) -> None:
    """Fork twice and return in the zygote, free to make pid namespaces below its own."""
    kernel.unshare(kernel.CLONE_NEWPID)
    if keeper := os.fork():
        control.close()
        os._exit(os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1]) & 0xFF)
    kernel.unshare(kernel.CLONE_NEWNS)
    isolation.mount_own_proc()
    kernel.clear_ambient_capabilities()
    if zygote := os.fork():
        _keep(control, zygote)


def _keep(control: socket.socket, zygote: int) -> None:
    """Reap until nobody is left; the children of a zygote that crashed become ours."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            os._exit(0)
        if pid == zygote:
            _send(control, {"crashed": status})
        else:
            _send(control, _ended(pid, status, usage))


def _ended(pid: int, status: int, usage: Any) -> dict[str, Any]:
    return {
        "ended": pid,
        "status": status,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "rss_kb": usage.ru_maxrss,
    }


def _send(control: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    try:
        socket.send_fds(control, [json.dumps(message).encode()], fds)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the service is gone


class _Zygote:
    """The loop: requests on one side, children that end on the other."""

    def __init__(self, control: socket.socket, config: dict[str, Any]) -> None:
        self._control = control
        self._confinement = isolation.Confinement(
            folders=[isolation.Folder(*folder) for folder in config["folders"]],
            pids_max=config["pids_max"],
            seccomp=base64.b64decode(config["seccomp"]),
        )
        self._inits: dict[int, int] = {}
        self._shell = config["shell"]
        self._modules = warmth.preload(config["modules"])
        if "matplotlib.pyplot" in self._modules:
            figures.save_on_show()
        warmth.touch()
        self._own_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._never, self._held_open = os.pipe()
        self._wakeup, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Answer requests until the service closes the socket."""
        poller = select.poll()
        for fd in (self._control.fileno(), self._wakeup):
            poller.register(fd, select.POLLIN)
        warmth.freeze()
        _send(self._control, {"ready": self._modules})
        while True:
            for fd, _ in poller.poll():
                if fd == self._wakeup:
                    self._reap()
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
            _send(self._control, {"refused": name, "error": str(error)})
        for fd in fds:
            os.close(fd)

    def _fork(self, name: int, handles: isolation.Handles) -> None:
        kernel.setns(
            self._own_namespace, kernel.CLONE_NEWPID
        )  # or the next line would find itself in the last child's
        kernel.unshare(kernel.CLONE_NEWPID)
        init = self._spawn_init()
        pid = os.fork()
        if pid == 0:
            self._become_child(handles)
        self._inits[pid] = init
        pidfds = (os.pidfd_open(init), os.pidfd_open(pid))
        _send(self._control, {"made": name, "pid": pid}, pidfds)
        for pidfd in pidfds:
            os.close(pidfd)

    def _spawn_init(self) -> int:
        """Start pid 1 of the new namespace. An exec leaves it no capability and next to no memory."""
        never = (os.POSIX_SPAWN_DUP2, self._never, 0)
        held_open = (os.POSIX_SPAWN_DUP2, self._held_open, 1)
        return os.posix_spawn(self._shell, _INIT, {}, file_actions=[never, held_open])

    def _become_child(self, handles: isolation.Handles) -> None:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._control.detach()
            isolation.isolate(self._confinement, handles)
            gc.enable()
        except BaseException as error:
            _fail(error)
        job.carry_out()

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, 4096)
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            init = self._inits.pop(pid, None)
            if init is not None:
                _kill(init)  # and with it whatever the program left running
                _send(self._control, _ended(pid, status, usage))


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise


def _fail(error: BaseException) -> None:
    """Say on the service's side why there is no sandbox. Nobody's code was seen, so nothing is lost."""
    with contextlib.suppress(OSError):
        os.write(2, f"a sandbox could not be isolated: {error!r}\n".encode("utf-8", "replace"))
    os._exit(70)
