"""How a child of the zygote leaves everything it shares. The order of the steps is the point of this file.

The user namespace comes last: only then are the mounts owned by a namespace the child has no power in.
Whatever fails raises `OSError` and ends the child before it has seen any code.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
import struct
from typing import NamedTuple, Sequence  # noqa: UP035  3.9

from . import kernel

WORKING_DIRECTORY = "/mnt/data"
PROGRAM_FOLDER = "/program"
HANDED_OVER = (WORKING_DIRECTORY, PROGRAM_FOLDER)
JOB_FD = 3
"""Where the child finds its socket to the service; the zygote keeps its own there."""
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_SAFE_MOUNT = kernel.MS_NOSUID | kernel.MS_NODEV
_DESCRIPTORS_MAX = 4096
_MEMLOCK_BYTES_MAX = 64 * 1024


class Folder(NamedTuple):
    """A writable folder of the sandbox's own."""

    path: str
    bytes_max: int
    inodes_max: int
    mode: str


class Confinement(NamedTuple):
    """What all children of one zygote have in common."""

    folders: Sequence[Folder]
    pids_max: int
    seccomp: bytes


class Handles(NamedTuple):
    """The descriptors a child was given, all of them fresh and its own."""

    job: int
    """The socket to the service."""
    cgroups: Sequence[int]
    """`cgroup.procs` of the groups to join, open for writing; one for v2, several for v1, none without."""


def isolate(confinement: Confinement, handles: Handles) -> None:
    """Leave everything shared. Afterwards only `JOB_FD` and three times /dev/null are open."""
    join_cgroups(handles.cgroups)
    leave_namespaces()
    raise_loopback()
    mount_own_folders(confinement.folders)
    mount_own_proc()
    limit_processes(confinement.pids_max)
    enter_user_namespace()
    become_session_leader()
    limit_what_nobody_needs()
    give_up_privileges()
    kernel.enter_landlock_scope()
    kernel.filter_system_calls(confinement.seccomp)
    keep_only_own_descriptors(handles)
    hand_over_folders()


def join_cgroups(procs_fds: Sequence[int]) -> None:
    """Join first, so that all the child allocates is counted."""
    for fd in procs_fds:
        os.write(fd, b"0")


def leave_namespaces() -> None:
    """Get mounts, IPC, host name, cgroup view and network of its own.

    The pid namespace is made before the fork, by the zygote.
    """
    kernel.unshare(
        kernel.CLONE_NEWNS
        | kernel.CLONE_NEWIPC
        | kernel.CLONE_NEWUTS
        | kernel.CLONE_NEWCGROUP
        | kernel.CLONE_NEWNET
    )


def raise_loopback() -> None:
    """Switch on the new network's only interface: programs talk to themselves over it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))


def mount_own_folders(folders: Sequence[Folder]) -> None:
    """Mount the only places that can be written, each with a size of its own."""
    for path, bytes_max, inodes_max, mode in folders:
        kernel.mount("tmpfs", path, _SAFE_MOUNT, f"size={bytes_max},nr_inodes={inodes_max},mode={mode}")


def mount_own_proc() -> None:
    """Show the processes of the new pid namespace and no others."""
    kernel.mount("proc", "/proc", _SAFE_MOUNT | kernel.MS_NOEXEC)


def limit_processes(pids_max: int) -> None:
    """Limit before the user namespace is made: the kernel binds the number to the new namespace."""
    _set_limit(resource.RLIMIT_NPROC, pids_max)


def enter_user_namespace() -> None:
    """Keep the ids, lose all power over the namespaces made so far."""
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{uid} {uid} 1")
    write("/proc/self/gid_map", f"{gid} {gid} 1")


def become_session_leader() -> None:
    """Be reached by no signal meant for the zygote's process group."""
    with contextlib.suppress(PermissionError):
        os.setsid()


def limit_what_nobody_needs() -> None:
    """No core dumps, no locked memory; the rest is limited when the plan is known."""
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_MEMLOCK, _MEMLOCK_BYTES_MAX)


def give_up_privileges() -> None:
    """Drop what the new user namespace gave: every capability, now and after any exec."""
    kernel.forbid_new_privileges()
    kernel.drop_bounding_set()
    kernel.clear_ambient_capabilities()
    kernel.drop_capabilities()
    kernel.set_dumpable(True)  # or the program could not open its own /proc/self/fd


def keep_only_own_descriptors(handles: Handles) -> None:
    """Keep nothing of the zygote's: /dev/null until there is a program, and the job socket."""
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for place in range(JOB_FD):
        os.dup2(nothing, place)
    os.dup2(handles.job, JOB_FD, inheritable=False)
    os.closerange(JOB_FD + 1, _DESCRIPTORS_MAX)


def hand_over_folders() -> None:
    """Say ready, and give the service handles on both folders for inputs and results."""
    os.chdir(WORKING_DIRECTORY)
    folders = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in HANDED_OVER]
    with socket.socket(fileno=os.dup(JOB_FD)) as job:
        socket.send_fds(job, [b"\n"], folders)
    for fd in folders:
        os.close(fd)


def _set_limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def write(path: str, text: str) -> None:
    """Write a kernel file at once."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
