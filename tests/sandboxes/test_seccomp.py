"""The system-call filter, read by a small BPF interpreter and loaded into the real kernel."""

import errno
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import Misconfigured
from sandboxes.denied_calls import DENIED, DENIED_WHERE_SHARED
from sandboxes.seccomp import filter_bytes

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOWED, KILLED = 0x7FFF0000, 0x80000000
CALLS = {  # name: (x86_64, aarch64)
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ioctl": (16, 29),
    "read": (0, 63),
    "execve": (59, 221),
    "memfd_create": (319, 279),
}


def verdict(
    program: bytes, number: int, args: tuple[int, ...] = (), arch: int = ARCHITECTURES["x86_64"]
) -> int:
    """Run classic BPF over one system call, as the kernel would."""
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    code = list(struct.iter_unpack("<HBBI", program))
    at, loaded = 0, 0
    while True:
        operation, then, otherwise, value = code[at]
        at += 1
        if operation == 0x20:
            loaded = struct.unpack_from("<I", data, value)[0]
        elif operation == 0x54:
            loaded &= value
        elif operation == 0x05:
            at += value
        elif operation == 0x06:
            return value
        else:
            met = {0x15: loaded == value, 0x35: loaded >= value, 0x25: loaded > value, 0x45: loaded & value}
            at += then if met[operation] else otherwise


def failing(code: int) -> int:
    """Return the filter action that fails a call with `code`."""
    return 0x00050000 | code


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_each_call_of_the_table_is_denied_and_no_other_number_is(machine: str) -> None:
    """Every number up to the newest known gives the one answer its row asks for."""
    column = list(ARCHITECTURES).index(machine)
    program, arch = filter_bytes(True, machine), ARCHITECTURES[machine]
    denied = {numbers[column] for numbers in DENIED.values()} - {None}
    looked_at = {CALLS[name][column] for name in ("clone", "clone3", "socket", "socketpair", "ioctl")}
    for number in set(range(470)) - looked_at:
        expected = failing(errno.EPERM) if number in denied else ALLOWED
        assert verdict(program, number, arch=arch) == expected, number


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_newer_than_the_table_do_not_exist(machine: str) -> None:
    """A kernel of tomorrow brings no call that nobody has judged."""
    assert verdict(filter_bytes(False, machine), 470, arch=ARCHITECTURES[machine]) == failing(errno.ENOSYS)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_clone_makes_processes_and_threads_but_no_namespaces(machine: str) -> None:
    """Each namespace flag alone is refused; what fork and pthreads ask for is allowed."""
    column = list(ARCHITECTURES).index(machine)
    program, arch, clone = filter_bytes(True, machine), ARCHITECTURES[machine], CALLS["clone"][column]
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(program, clone, (flag | signal.SIGCHLD,), arch) == failing(errno.EPERM)
    for flags in (signal.SIGCHLD, 0x3D0F00, 0x4111):
        assert verdict(program, clone, (flags,), arch) == ALLOWED
    assert verdict(program, CALLS["clone3"][column], arch=arch) == failing(errno.ENOSYS)


def test_other_calling_conventions_kill_the_process() -> None:
    """x32 numbers and 32-bit code would mean other calls than the table does."""
    program = filter_bytes(True, "x86_64")
    assert verdict(program, 0x40000000 + 39) == KILLED
    assert verdict(program, 20, arch=0x40000003) == KILLED
    assert verdict(program, 39, arch=ARCHITECTURES["aarch64"]) == KILLED


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_only_unix_and_inet_sockets_can_be_made(machine: str) -> None:
    """Netlink, packet, vsock, alg and raw sockets are refused, inet only where asked for."""
    column = list(ARCHITECTURES).index(machine)
    arch, call, pair = ARCHITECTURES[machine], CALLS["socket"][column], CALLS["socketpair"][column]
    own, shared = filter_bytes(True, machine), filter_bytes(False, machine)
    cloexec = socket.SOCK_CLOEXEC
    for program in (own, shared):
        assert verdict(program, call, (socket.AF_UNIX, 1 | cloexec), arch) == ALLOWED
        assert verdict(program, pair, (socket.AF_UNIX, 1), arch) == ALLOWED
        assert verdict(program, pair, (40, 1), arch) == failing(errno.EAFNOSUPPORT)
        for family in (16, 17, 38, 40, 44, 0):
            assert verdict(program, call, (family, 1), arch) == failing(errno.EAFNOSUPPORT)
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind in (1, 2, 1 | cloexec):
            assert verdict(own, call, (family, kind, 0), arch) == ALLOWED
            assert verdict(shared, call, (family, kind, 0), arch) == failing(errno.EAFNOSUPPORT)
        assert verdict(own, call, (family, 3, 1), arch) == failing(errno.EPERM)
        assert verdict(own, call, (family, 1, 262), arch) == failing(errno.EPROTONOSUPPORT)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_in_shared_namespaces_no_socket_has_an_address_and_no_ipc_object_a_name(machine: str) -> None:
    column = list(ARCHITECTURES).index(machine)
    program = filter_bytes(False, machine, shared=True)

    def judged(number: int, *args: int) -> int:
        return verdict(program, number, args, ARCHITECTURES[machine])

    socket_call, pair_call = CALLS["socket"][column], CALLS["socketpair"][column]
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
        assert judged(socket_call, family, socket.SOCK_STREAM) == failing(errno.EAFNOSUPPORT)
    assert judged(pair_call, socket.AF_UNIX, socket.SOCK_STREAM) == ALLOWED
    assert judged(pair_call, socket.AF_UNIX, socket.SOCK_DGRAM) == failing(errno.EPERM)
    for numbers in DENIED_WHERE_SHARED.values():
        assert judged(numbers[column]) == failing(errno.EPERM)


def test_nobody_types_into_a_terminal() -> None:
    """TIOCSTI and TIOCLINUX are refused, whatever the upper half of the argument says."""
    program = filter_bytes(True, "x86_64")
    for request in (0x5412, 0x541C, 0x5423, 0x1_0000_5412):
        assert verdict(program, 16, (0, request)) == failing(errno.EPERM)
    assert verdict(program, 16, (0, 0x5401)) == ALLOWED


def test_an_unknown_machine_is_refused_by_name() -> None:
    """We would otherwise filter the wrong calls."""
    with pytest.raises(Misconfigured, match="riscv64"):
        filter_bytes(True, "riscv64")


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), (1, "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_the_kernel_headers(column: int, header: str) -> None:
    """Where headers are installed, they agree with the table."""
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    table = {name: numbers[column] for name, numbers in DENIED.items()}
    wrong = {
        name: number for name, number in table.items() if number and int(known.get(name, number)) != number
    }
    assert len(known) > 200
    assert not wrong


LOADED = """
import ctypes, errno, json, os, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
program = sys.stdin.buffer.read()
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Fprog(len(program) // 8, program)), 0, 0) == 0
def fails(call, *args):
    return errno.errorcode[ctypes.get_errno()] if call(*args) < 0 else "done"
def refused(*args):
    try: socket.socket(*args).close()
    except OSError as error: return errno.errorcode[error.errno]
    return "done"
said = [fails(libc.unshare, 0x10000000), fails(libc.ptrace, 0, 0, 0, 0), fails(libc.mount, 0, 0, 0, 0, 0),
        refused(socket.AF_INET), refused(16, 3), refused(40, 1),
        subprocess.run(["true"]).returncode, len(socket.socketpair())]
print(json.dumps(said), flush=True)
if os.uname().machine == "x86_64":
    libc.syscall(ctypes.c_long(0x40000000 + 39))
"""


def test_the_kernel_takes_the_filter_and_enforces_it() -> None:
    """In a real process: denied calls fail, forking and pipes work, an x32 call is the end."""
    run = subprocess.run(
        [sys.executable, "-c", LOADED], input=filter_bytes(True), capture_output=True, check=False
    )
    assert json.loads(run.stdout) == [*["EPERM"] * 3, "done", *["EAFNOSUPPORT"] * 2, 0, 2], run.stderr
    if os.uname().machine == "x86_64":
        assert run.returncode == -signal.SIGSYS
