"""The warm process. It never runs anybody's code: it makes children, which isolate themselves and wait.

    launcher ── keeper, pid 1 of an own pid namespace ── zygote ── children, each in a namespace below
                      └── an init for each of those namespaces

On the control socket (SOCK_SEQPACKET) the service sends the configuration, then one message for each child
it wants, with the child's descriptors; it gets `ready`, and for each child `made` (with pidfds of its init
and of itself) and `ended`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket

from . import hooks, isolation, kernel
from .keeper import Keeper

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
    keeper = _fork_below_a_keeper(control, config["watched"])
    hooks.collect()
    from .nursery import Nursery  # only now: what is imported before is in every init as well

    Nursery(control, keeper, config).serve()


def _fork_below_a_keeper(control: socket.socket, watched: list[str]) -> socket.socket:
    """Fork twice, into a pid namespace of our own; return in the zygote, with its way to ask the keeper."""
    kernel.unshare(kernel.CLONE_NEWPID)
    if keeper := os.fork():
        control.close()
        os._exit(os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1]) & 0xFF)
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount_own_proc()
    kernel.clear_ambient_capabilities()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if zygote := os.fork():
        ours.close()
        Keeper(control, theirs, zygote, watched).serve()
    theirs.close()
    return ours
