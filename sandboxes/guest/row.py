"""System calls in a row, prepared once and carried out by many processes without Python in between.

A child of the zygote shares the zygote's memory until it writes to it, and Python writes to every object that
it looks at: a child that isolated itself by Python copied 210 pages, which is most of a millisecond of CPU.
So the zygote writes down what is to be called, and a dozen machine instructions in the child do it. Where
there are none for this processor, ctypes makes the same calls from the same table.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_MACHINE = platform.machine()
_ARM = _MACHINE == "aarch64"
# number on x86_64, on aarch64; the newer ones are the same everywhere
_NUMBERS = {
    "write": (1, 64),
    "close": (3, 57),
    "ioctl": (16, 29),
    "socket": (41, 198),
    "sendmsg": (46, 211),
    "chdir": (80, 49),
    "setsid": (112, 157),
    "capset": (126, 91),
    "prctl": (157, 167),
    "mount": (165, 40),
    "openat": (257, 56),
    "unshare": (272, 97),
    "dup3": (292, 24),
    "prlimit64": (302, 261),
    "close_range": (436, 436),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
}
_ARGUMENTS = 6
_CODE = bytes.fromhex(
    "53"  # push rbx
    "55"  # push rbp
    "4889fb"  # mov rbx, rdi: the first call
    "4889f5"  # mov rbp, rsi: behind the last
    "4839eb"  # again: cmp rbx, rbp
    "742f"  # je done
    "488b03"  # mov rax, [rbx]
    "488b7b08"  # mov rdi, [rbx+8]
    "488b7310"  # mov rsi, [rbx+16]
    "488b5318"  # mov rdx, [rbx+24]
    "4c8b5320"  # mov r10, [rbx+32]
    "4c8b4328"  # mov r8, [rbx+40]
    "4c8b4b30"  # mov r9, [rbx+48]
    "0f05"  # syscall
    "488b5338"  # mov rdx, [rbx+56]
    "488902"  # mov [rdx], rax: where the result is wanted
    "4885c0"  # test rax, rax
    "7806"  # js done
    "4883c340"  # add rbx, 64
    "ebcc"  # jmp again
    "4889d8"  # done: mov rax, rbx
    "5d"  # pop rbp
    "5b"  # pop rbx
    "c3"  # ret
)


class _Call(ctypes.Structure):
    _fields_ = (
        ("number", ctypes.c_long),
        ("arguments", ctypes.c_long * _ARGUMENTS),
        ("result_to", ctypes.c_void_p),
    )


class Slot:
    """An argument, or a place in memory, that becomes known later: set by hand or by an earlier call."""

    def __init__(self, address: int = 0) -> None:
        self.address = address

    def set(self, value: int) -> None:
        """Say what it is, once the row is ready."""
        ctypes.c_long.from_address(self.address).value = value


class Row:
    """A list of calls that is carried out once in each process, up to the first that fails."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, tuple[Any, ...], Slot | None]] = []
        self._kept: list[Any] = []
        self._table: Any = None
        self._range = (0, 0)

    def add(self, name: str, *arguments: Any, result: Slot | None = None) -> None:
        """Append a call. Arguments are numbers, bytes, ctypes objects, None, or a `Slot`.

        `result`: an argument of a later call, or a place, that gets what this one returns.
        """
        self._calls.append((name, arguments, result))

    def prepare(self) -> None:
        """Write the table. Slots can be set from now on."""
        self._table = (_Call * len(self._calls))()
        for call, (name, arguments, _) in zip(self._table, self._calls):  # noqa: B905  3.9
            call.number = _NUMBERS[name][_ARM]
            call.result_to = ctypes.addressof(call)  # the number's place; it is used up by then
            for index, argument in enumerate(arguments):
                place = ctypes.addressof(call) + _Call.arguments.offset + index * ctypes.sizeof(ctypes.c_long)
                if isinstance(argument, Slot):
                    argument.address = place
                else:
                    call.arguments[index] = self._word(argument)
        for call, (_, _, result) in zip(self._table, self._calls):  # noqa: B905  3.9
            if result:
                call.result_to = result.address
        begin = ctypes.addressof(self._table)
        self._range = (begin, begin + ctypes.sizeof(self._table))

    def carry_out(self) -> None:
        """Make the calls. Raises `OSError`, which names the one that failed."""
        begin, end = self._range
        failed = _in_a_row(begin, end)
        if failed != end:
            self._fail((failed - begin) // ctypes.sizeof(_Call))

    def _fail(self, index: int) -> None:
        name, arguments, _ = self._calls[index]
        code = -ctypes.c_long.from_address(self._table[index].result_to).value
        raise OSError(code, os.strerror(code), f"{name}{arguments}")

    def _word(self, argument: Any) -> int:
        if argument is None:
            return 0
        if isinstance(argument, int):
            return argument
        if isinstance(argument, bytes):
            argument = ctypes.create_string_buffer(argument)
        self._kept.append(argument)
        return ctypes.addressof(argument)


def _by_ctypes(begin: int, end: int) -> int:
    """Make the calls between two addresses; return the address of the one that failed, else the end."""
    for address in range(begin, end, ctypes.sizeof(_Call)):
        call = _Call.from_address(address)
        result = _libc.syscall(ctypes.c_long(call.number), *map(ctypes.c_long, call.arguments))
        result = -ctypes.get_errno() if result < 0 else result
        ctypes.c_long.from_address(call.result_to).value = result
        if result < 0:
            return address
    return end


def _load() -> Any:
    """Return the machine code as a function, or what does the same."""
    if _MACHINE != "x86_64":
        return _by_ctypes
    try:
        protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        memory = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection)
    except OSError:  # the host wants no memory that can be written and run
        return _by_ctypes
    memory.write(_CODE)
    function = ctypes.PYFUNCTYPE(ctypes.c_long, ctypes.c_long, ctypes.c_long)
    loaded = function(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    loaded.memory = memory  # type: ignore[attr-defined]
    return loaded


_in_a_row = _load()
