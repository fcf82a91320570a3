"""The few system calls that Python's standard library lacks, through ctypes. Each raises `OSError`."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8

SAFE_MOUNT = MS_NOSUID | MS_NODEV

PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2
_PR_CAPBSET_READ = 23
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_SETPCAP = 8
_CAPABILITIES_MAX = 63

# the same on every architecture: the call is newer than the unified table
_SYS_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_VERSION_QUERY = 1
LANDLOCK_ABI_WITH_SCOPES = 6
LANDLOCK_SCOPES = 3
"""Abstract unix sockets and signals outside the domain are out of reach."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class FilterProgram(ctypes.Structure):
    """A seccomp filter as the kernel wants it told (`struct sock_fprog`)."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    @classmethod
    def of(cls, program: bytes) -> FilterProgram:
        """Return that of an array of `struct sock_filter`."""
        return cls(len(program) // 8, program)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `CLONE_NEW*` flags for new ones (unshare(2))."""
    _check(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind `fd` (setns(2))."""
    _check(_libc.setns(fd, kind))


def mount(filesystem: str, target: str, flags: int, options: str = "") -> None:
    """Mount a new filesystem that needs no device (mount(2))."""
    name = filesystem.encode()
    _check(_libc.mount(name, target.encode(), name, flags, options.encode() or None), target)


def mount_own_proc() -> None:
    """Show the processes of our pid namespace and no others."""
    mount("proc", "/proc", SAFE_MOUNT | MS_NOEXEC)


def set_dumpable(dumpable: bool) -> None:
    """Say whether processes of the same user may look into this one."""
    _prctl(PR_SET_DUMPABLE, int(dumpable))


def forbid_new_privileges() -> None:
    """Make every later exec unable to gain rights."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def clear_ambient_capabilities() -> None:
    """Let no capability survive an exec."""
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def all_capabilities() -> list[int]:
    """Return every capability that this kernel knows, the one that lets drop others last."""
    known = [number for number in range(_CAPABILITIES_MAX + 1) if _is_known(number)]
    return sorted(known, key=lambda number: number == _CAP_SETPCAP)


def _is_known(capability: int) -> bool:
    return int(_libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0)) >= 0


def no_capabilities() -> tuple[ctypes.Structure, ctypes.Array[ctypes.c_uint32]]:
    """Return the arguments of capset(2) that empty the effective, permitted and inheritable sets."""
    return _CapabilityHeader(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()


def drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets (capset(2))."""
    header, sets = no_capabilities()
    _check(_libc.capset(ctypes.byref(header), sets))


def landlock_abi() -> int:
    """Return the version of Landlock this kernel speaks, 0 for none."""
    version = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_QUERY)
    return max(0, int(version))


def trim_heap() -> None:
    """Give memory that was freed back to the kernel, where the C library knows how (malloc_trim(3))."""
    if trim := getattr(_libc, "malloc_trim", None):
        trim(0)


def _prctl(option: int, first: int = 0, second: int = 0) -> None:
    _check(_libc.prctl(option, first, second, 0, 0))


def _check(result: int, what: str = "") -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what or None)
    return result
