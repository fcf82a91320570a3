"""The system-call filter of every sandbox, compiled once to classic BPF.

The kernel copies and verifies the bytes in about 0.1 ms, where building them with a library at each start
costs milliseconds; so a tiny assembler here makes them once per process. The same bytes serve
`bwrap --seccomp FD` and `seccomp(2)` in a waiting child.

It is a list of what is denied, not of what is allowed: compilers and runtimes of many languages must live
under it. Namespaces, capabilities and Landlock are the walls; this narrows the kernel behind them. Calls
newer than the table answer ENOSYS, so that a new kernel adds nothing unseen.
"""

import errno
import functools
import platform
import struct

from infra.errors import Misconfigured
from sandboxes.denied_calls import DENIED, DENIED_WHERE_SHARED, NUMBER_MAX

_ARCHITECTURES = {
    # machine: (column of DENIED, AUDIT_ARCH, clone, socket, socketpair, ioctl)
    "x86_64": (0, 0xC000003E, 56, 41, 53, 16),
    "aarch64": (1, 0xC00000B7, 220, 198, 199, 29),
}
MACHINES = tuple(_ARCHITECTURES)
"""What there is a filter for, as `uname -m` says it."""
_CLONE3 = 435
_X32_BIT = 0x40000000
_NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; NEWTIME exists only for `unshare` and `clone3`."""
_TERMINAL_IOCTLS = (0x5412, 0x541C, 0x5423)
"""TIOCSTI and TIOCLINUX type into a terminal, TIOCSETD loads line disciplines."""
_UNIX, _INET, _INET6 = 1, 2, 10
_STREAM, _DGRAM, _SEQPACKET, _TYPE_MASK = 1, 2, 5, 0xF
_PROTOCOLS = (0, 6, 17, 1, 58)
"""Any, TCP, UDP and the two ICMPs that serve unprivileged ping."""

# offsets in struct seccomp_data; both machines are little-endian, so the low half of an argument comes first
_NUMBER, _ARCH, _ARG0, _ARG1, _ARG2 = 0, 4, 16, 24, 32
_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_IF_EQUAL, _IF_AT_LEAST, _IF_GREATER, _IF_ANY_BIT = 0x15, 0x35, 0x25, 0x45
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LEAF = 4


@functools.cache
def filter_bytes(network: bool, machine: str = "", *, shared: bool = False) -> bytes:
    """Return the filter as an array of `struct sock_filter`.

    `network` lets inet sockets be made: right for a sandbox in a network namespace of its own, where they
    reach the sandbox's loopback; without it only unix sockets exist. `shared` is for a sandbox in the host's
    own namespaces: no unix socket that could find another's, only connected pairs, and no ipc objects.
    `machine` is as `uname -m` says it, this machine's by default. Raises `Misconfigured` where we know no
    system-call numbers.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise Misconfigured(f"the system-call filter needs x86_64 or aarch64, this machine is {machine}")
    program = _Program()
    _write_filter(program, machine, network, shared)
    return program.assemble()


class _Program:
    """An assembler with forward labels, which is all that classic BPF can jump to."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, str, str]] = []
        self._labels: dict[str, int] = {}

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def load(self, offset: int) -> None:
        self._code.append((_LOAD, offset, "", ""))

    def mask(self, bits: int) -> None:
        self._code.append((_AND, bits, "", ""))

    def jump(self, target: str) -> None:
        self._code.append((_JUMP, 0, target, ""))

    def test(self, operation: int, value: int, then: str = "", otherwise: str = "") -> None:
        """Jump by a comparison of what was loaded; an empty label is the next instruction."""
        self._code.append((operation, value, then, otherwise))

    def answer(self, name: str, action: int) -> None:
        self.label(name)
        self._code.append((_RETURN, action, "", ""))

    def assemble(self) -> bytes:
        return b"".join(self._encode(at, *line) for at, line in enumerate(self._code))

    def _encode(self, at: int, operation: int, value: int, then: str, otherwise: str) -> bytes:
        jumps = [self._labels[name] - at - 1 if name else 0 for name in (then, otherwise)]
        if operation == _JUMP:
            return struct.pack("<HBBI", operation, 0, 0, jumps[0])
        return struct.pack("<HBBI", operation, *jumps, value)


def _write_filter(program: _Program, machine: str, network: bool, shared: bool) -> None:
    column, audit_arch, clone, socket, socketpair, ioctl = _ARCHITECTURES[machine]
    looked_at = {clone: "clone", _CLONE3: "absent", socket: "socket", socketpair: "unix", ioctl: "ioctl"}
    table = DENIED | DENIED_WHERE_SHARED if shared else DENIED
    denied = {number: "denied" for numbers in table.values() if (number := numbers[column]) is not None}

    program.load(_ARCH)
    program.test(_IF_EQUAL, audit_arch, otherwise="killed")
    program.load(_NUMBER)
    if machine == "x86_64":
        program.test(_IF_AT_LEAST, _X32_BIT, then="killed")
    program.test(_IF_GREATER, NUMBER_MAX, then="absent")
    _write_search(program, sorted((looked_at | denied).items()))
    _write_clone(program)
    _write_ioctl(program)
    _write_unix_sockets(program, shared)
    _write_sockets(program, network, shared)
    program.answer("allowed", _ALLOW)
    program.answer("denied", _ERRNO | errno.EPERM)
    program.answer("absent", _ERRNO | errno.ENOSYS)
    program.answer("no_family", _ERRNO | errno.EAFNOSUPPORT)
    program.answer("no_protocol", _ERRNO | errno.EPROTONOSUPPORT)
    program.answer("killed", _KILL_PROCESS)


def _write_search(program: _Program, targets: list[tuple[int, str]]) -> None:
    """Find the loaded number by halving; what is in no leaf is allowed."""
    if len(targets) <= _LEAF:
        for number, target in targets:
            program.test(_IF_EQUAL, number, then=target)
        program.jump("allowed")
        return
    middle = len(targets) // 2
    upper = f"from_{targets[middle][0]}"
    program.test(_IF_AT_LEAST, targets[middle][0], then=upper)
    _write_search(program, targets[:middle])
    program.label(upper)
    _write_search(program, targets[middle:])


def _write_clone(program: _Program) -> None:
    """`clone3` hides its flags behind a pointer, so it is absent and the C library uses `clone`."""
    program.label("clone")
    program.load(_ARG0)
    program.test(_IF_ANY_BIT, _NAMESPACE_FLAGS, "denied", "allowed")


def _write_ioctl(program: _Program) -> None:
    program.label("ioctl")
    program.load(_ARG1)
    for request in _TERMINAL_IOCTLS:
        program.test(_IF_EQUAL, request, then="denied")
    program.jump("allowed")


def _write_unix_sockets(program: _Program, shared: bool) -> None:
    """Pairs. Datagrams find any address even from a pair, so where addresses are shared they are denied."""
    program.label("unix")
    program.load(_ARG0)
    if not shared:
        program.test(_IF_EQUAL, _UNIX, "allowed", "no_family")
        return
    program.test(_IF_EQUAL, _UNIX, otherwise="no_family")
    program.load(_ARG1)
    program.mask(_TYPE_MASK)
    _write_choice(program, (_STREAM, _SEQPACKET), "allowed", "denied")


def _write_sockets(program: _Program, network: bool, shared: bool) -> None:
    program.label("socket")
    program.load(_ARG0)
    program.test(_IF_EQUAL, _UNIX, then="no_family" if shared else "allowed")
    if not network:
        program.jump("no_family")
        return
    program.test(_IF_EQUAL, _INET, then="inet")
    program.test(_IF_EQUAL, _INET6, "inet", "no_family")
    program.label("inet")
    program.load(_ARG1)
    program.mask(_TYPE_MASK)
    _write_choice(program, (_STREAM, _DGRAM), "typed", "denied")
    program.label("typed")
    program.load(_ARG2)
    _write_choice(program, _PROTOCOLS, "allowed", "no_protocol")


def _write_choice(program: _Program, values: tuple[int, ...], then: str, otherwise: str) -> None:
    for value in values:
        program.test(_IF_EQUAL, value, then=then)
    program.jump(otherwise)
