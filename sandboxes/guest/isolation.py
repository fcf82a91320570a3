"""How a child of the zygote leaves everything it shares. The order of the steps is the point of this file.

The zygote writes the steps down once, as a `Row` of system calls, and every child carries it out. The user
namespace comes last: only then are the mounts owned by a namespace the child has no power in. Whatever fails
raises `OSError` and ends the child before it has seen any code.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
from typing import NamedTuple, Sequence  # noqa: UP035  3.9

from . import kernel
from .row import Row, Slot

WORKING_DIRECTORY = "/mnt/data"
PROGRAM_FOLDER = "/program"
HANDED_OVER = (WORKING_DIRECTORY, PROGRAM_FOLDER)
JOB_FD = 3
"""Where the child finds its socket to the service; the zygote keeps its own there."""
_STDIN, _STDOUT, _STDERR = range(JOB_FD)
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_HERE = -100
"""AT_FDCWD."""
_SCM_RIGHTS = 1
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
    """The descriptors a child is given, all of them fresh and its own."""

    job: Slot
    """The socket to the service."""
    cgroups: Sequence[Slot]
    """What to write to for joining a group: one for v2, several for v1, none without."""


def steps(confinement: Confinement, handles: Handles) -> Row:
    """Leave everything shared. Afterwards only `JOB_FD` and three times /dev/null are open."""
    row = Row()
    join_cgroups(row, handles.cgroups)
    leave_namespaces(row)
    raise_loopback(row)
    mount_own_folders(row, confinement.folders)
    mount_own_proc(row)
    limit_processes(row, confinement.pids_max)
    enter_user_namespace(row)
    become_session_leader(row)
    limit_what_nobody_needs(row)
    give_up_privileges(row)
    enter_landlock_scope(row)
    filter_system_calls(row, confinement.seccomp)
    keep_only_own_descriptors(row, handles.job)
    row.add("chdir", WORKING_DIRECTORY.encode())
    row.prepare()
    return row


def join_cgroups(row: Row, cgroups: Sequence[Slot]) -> None:
    """Join first, so that all the child allocates is counted."""
    for group in cgroups:
        row.add("write", group, b"0", 1)


def leave_namespaces(row: Row) -> None:
    """Get mounts, IPC, host name, cgroup view and network of its own.

    The pid namespace is made before the fork, by the zygote.
    """
    row.add(
        "unshare",
        kernel.CLONE_NEWNS
        | kernel.CLONE_NEWIPC
        | kernel.CLONE_NEWUTS
        | kernel.CLONE_NEWCGROUP
        | kernel.CLONE_NEWNET,
    )


def raise_loopback(row: Row) -> None:
    """Switch on the new network's only interface: programs talk to themselves over it."""
    any_socket = Slot()
    row.add("socket", socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0, result=any_socket)
    row.add("ioctl", any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP_RUNNING))


def mount_own_folders(row: Row, folders: Sequence[Folder]) -> None:
    """Mount the only places that can be written, each with a size of its own."""
    for path, bytes_max, inodes_max, mode in folders:
        options = f"size={bytes_max},nr_inodes={inodes_max},mode={mode}"
        row.add("mount", b"tmpfs", path.encode(), b"tmpfs", kernel.SAFE_MOUNT, options.encode())


def mount_own_proc(row: Row) -> None:
    """Show the processes of the new pid namespace and no others."""
    row.add("mount", b"proc", b"/proc", b"proc", kernel.SAFE_MOUNT | kernel.MS_NOEXEC, None)


def limit_processes(row: Row, pids_max: int) -> None:
    """Limit before the user namespace is made: the kernel binds the number to the new namespace."""
    _set_limit(row, resource.RLIMIT_NPROC, pids_max)


def enter_user_namespace(row: Row) -> None:
    """Keep the ids, lose all power over the namespaces made so far."""
    uid, gid = os.getuid(), os.getgid()
    row.add("unshare", kernel.CLONE_NEWUSER)
    _write(row, "/proc/self/setgroups", "deny")
    _write(row, "/proc/self/uid_map", f"{uid} {uid} 1")
    _write(row, "/proc/self/gid_map", f"{gid} {gid} 1")


def become_session_leader(row: Row) -> None:
    """Be reached by no signal meant for the zygote's process group."""
    row.add("setsid")


def limit_what_nobody_needs(row: Row) -> None:
    """No core dumps, no locked memory; the rest is limited when the plan is known."""
    _set_limit(row, resource.RLIMIT_CORE, 0)
    _set_limit(row, resource.RLIMIT_MEMLOCK, _MEMLOCK_BYTES_MAX)


def give_up_privileges(row: Row) -> None:
    """Drop what the new user namespace gave: every capability, now and after any exec."""
    row.add("prctl", kernel.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in kernel.all_capabilities():
        row.add("prctl", kernel.PR_CAPBSET_DROP, capability, 0, 0, 0)
    row.add("prctl", kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    row.add("capset", *kernel.no_capabilities())
    # or the program could not open its own /proc/self/fd
    row.add("prctl", kernel.PR_SET_DUMPABLE, 1, 0, 0, 0)


def enter_landlock_scope(row: Row) -> None:
    """Cut off signals and abstract sockets to whatever is outside. Older kernels: does nothing.

    The namespaces already do this; Landlock is the second lock on the same door.
    """
    if kernel.landlock_abi() < kernel.LANDLOCK_ABI_WITH_SCOPES:
        return
    attributes = struct.pack("3Q", 0, 0, kernel.LANDLOCK_SCOPES)
    ruleset = Slot()
    row.add("landlock_create_ruleset", attributes, len(attributes), 0, result=ruleset)
    row.add("landlock_restrict_self", ruleset, 0)


def filter_system_calls(row: Row, program: bytes) -> None:
    """Install the seccomp filter, an array of `struct sock_filter`: from here on it holds."""
    row.add(
        "prctl", kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, kernel.FilterProgram.of(program), 0, 0
    )


def keep_only_own_descriptors(row: Row, job: Slot) -> None:
    """Keep nothing of the zygote's: /dev/null until there is a program, and the job socket."""
    nothing = Slot()
    row.add("openat", _HERE, b"/dev/null", os.O_RDWR | os.O_CLOEXEC, result=nothing)
    row.add("dup3", nothing, _STDIN, 0)
    row.add("dup3", _STDIN, _STDOUT, 0)
    row.add("dup3", _STDIN, _STDERR, 0)
    row.add("dup3", job, JOB_FD, os.O_CLOEXEC)
    row.add("close_range", JOB_FD + 1, _DESCRIPTORS_MAX, 0)


def greeting() -> Row:
    """Say ready, and give the service handles on both folders for inputs and results."""
    row = Row()
    message = _Message.ready()
    for path, place in zip(HANDED_OVER, message.places()):  # noqa: B905  3.9
        row.add("openat", _HERE, path.encode(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, result=place)
    row.add("sendmsg", JOB_FD, message, 0)
    row.add("close_range", JOB_FD + 1, _DESCRIPTORS_MAX, 0)
    row.prepare()
    return row


class _Message(ctypes.Structure):
    """A message of one byte with two descriptors, as sendmsg(2) wants it, and all that it points to."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_bytes", ctypes.c_uint),
        ("parts", ctypes.c_void_p),
        ("parts_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_bytes", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        # the only part
        ("data", ctypes.c_void_p),
        ("data_bytes", ctypes.c_size_t),
        # the control message; results are longs, so each takes half of what comes behind it
        ("head_bytes", ctypes.c_size_t),
        ("level", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("descriptors", ctypes.c_int * 3),
        ("byte", ctypes.c_char),
    )

    @classmethod
    def ready(cls) -> _Message:
        message = cls()
        size = cls.descriptors.offset - cls.head_bytes.offset + len(HANDED_OVER) * ctypes.sizeof(ctypes.c_int)
        begin = ctypes.addressof(message)
        message.parts, message.parts_count = begin + cls.data.offset, 1
        message.control, message.control_bytes = begin + cls.head_bytes.offset, size
        message.data, message.data_bytes = begin + cls.byte.offset, 1
        message.head_bytes, message.level, message.kind = size, socket.SOL_SOCKET, _SCM_RIGHTS
        message.byte = b"\n"
        return message

    def places(self) -> list[Slot]:
        """Return where the descriptors go, to be filled in this order."""
        first = ctypes.addressof(self) + _Message.descriptors.offset
        return [Slot(first + index * ctypes.sizeof(ctypes.c_int)) for index in range(len(HANDED_OVER))]


def _set_limit(row: Row, kind: int, value: int) -> None:
    """Set a limit, or keep the lower one that the host set for all of us."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    row.add("prlimit64", 0, kind, struct.pack("2Q", value, value), None)


def _write(row: Row, path: str, text: str) -> None:
    file = Slot()
    row.add("openat", _HERE, path.encode(), os.O_WRONLY | os.O_CLOEXEC, result=file)
    row.add("write", file, text.encode(), len(text))


def write(path: str, text: str) -> None:
    """Write a kernel file at once, here and now."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
