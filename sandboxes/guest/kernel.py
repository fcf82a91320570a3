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

_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_SETPCAP = 8
_CAPABILITIES_MAX = 63

# the same on every architecture: both calls are newer than the unified table
_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION_QUERY = 1
_LANDLOCK_ABI_WITH_SCOPES = 6
_LANDLOCK_SCOPES = 3
"""Abstract unix sockets and signals outside the domain are out of reach."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


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


def set_dumpable(dumpable: bool) -> None:
    """Say whether processes of the same user may look into this one."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def forbid_new_privileges() -> None:
    """Make every later exec unable to gain rights."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def clear_ambient_capabilities() -> None:
    """Let no capability survive an exec."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def drop_bounding_set() -> None:
    """Give up every capability for good, the one that drops others last."""
    for capability in range(_CAPABILITIES_MAX + 1):
        if capability != _CAP_SETPCAP and _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # this kernel knows no more
    _prctl(_PR_CAPBSET_DROP, _CAP_SETPCAP)


def drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets (capset(2))."""
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(ctypes.byref(header), (ctypes.c_uint32 * 6)()))


def landlock_abi() -> int:
    """Return the version of Landlock this kernel speaks, 0 for none."""
    version = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_QUERY)
    return max(0, int(version))


def enter_landlock_scope() -> None:
    """Cut off signals and abstract sockets to whatever is outside. Older kernels: does nothing.

    The namespaces already do this; Landlock is the second lock on the same door.
    """
    if landlock_abi() < _LANDLOCK_ABI_WITH_SCOPES:
        return
    attributes = (ctypes.c_uint64 * 3)(0, 0, _LANDLOCK_SCOPES)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    ruleset = _check(_libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), size, 0))
    try:
        _check(_libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def trim_heap() -> None:
    """Give memory that was freed back to the kernel, where the C library knows how (malloc_trim(3))."""
    if trim := getattr(_libc, "malloc_trim", None):
        trim(0)


def filter_system_calls(program: bytes) -> None:
    """Install a seccomp filter: an array of `struct sock_filter`."""
    prog = _FilterProgram(len(program) // 8, program)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(prog))


def _prctl(option: int, first: int = 0, second: int = 0) -> None:
    _check(_libc.prctl(option, first, second, 0, 0))


def _check(result: int, what: str = "") -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what or None)
    return result
