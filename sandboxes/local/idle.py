"""The smallest program there can be: pid 1 of a warm child's namespace, which is only to be there.

Every child needs one, and an interpreter or a `sleep` linked to libc would cost as much as the child's own
making (2.5 ms of CPU; this 0.3). It ignores SIGCHLD, so that the kernel reaps orphans, and sleeps for ever.
One page, written as an ELF file by hand (elf(5)) for it must not depend on a compiler being here.
"""

import platform
import struct

_ADDRESS = 0x400000
_MACHINE = {"x86_64": 62, "aarch64": 183}
"""Their `e_machine`."""
_CODE = {
    "x86_64": bytes.fromhex(
        "b80d000000"  # mov eax, 13: rt_sigaction
        "bf11000000"  # mov edi, 17: SIGCHLD
        "488d3517000000"  # lea rsi, [ignore]
        "31d2"  # xor edx, edx
        "41ba08000000"  # mov r10d, 8: size of a signal set
        "0f05"  # syscall
        "b822000000"  # again: mov eax, 34: pause
        "0f05"  # syscall
        "ebf7"  # jmp again
        "0f1f4000"  # nop
    ),
    "aarch64": bytes.fromhex(
        "200280d2"  # mov x0, 17: SIGCHLD
        "a1010010"  # adr x1, ignore
        "020080d2"  # mov x2, 0
        "030180d2"  # mov x3, 8: size of a signal set
        "c81080d2"  # mov x8, 134: rt_sigaction
        "010000d4"  # svc 0
        "000080d2"  # again: mov x0, 0
        "010080d2"  # mov x1, 0
        "020080d2"  # mov x2, 0
        "030080d2"  # mov x3, 0
        "280980d2"  # mov x8, 73: ppoll
        "010000d4"  # svc 0
        "faffff17"  # b again
        "1f2003d5"  # nop
    ),
}
_IGNORE = struct.pack("<4Q", 1, 0, 0, 0)
"""`ignore`, a sigaction whose handler is SIG_IGN; it stands right behind the code."""
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")


def idle_program(machine: str = platform.machine()) -> bytes:
    """Return the program for this processor, empty where we have none."""
    if machine not in _MACHINE:
        return b""
    begin = _HEADER.size + _SEGMENT.size
    body = _CODE[machine] + _IGNORE
    size = begin + len(body)
    identity = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
    executable, version, load, read_and_execute, align = 2, 1, 1, 5, 0x1000
    # fmt: off
    header = _HEADER.pack(
        identity, executable, _MACHINE[machine], version, _ADDRESS + begin, _HEADER.size, 0, 0,
        _HEADER.size, _SEGMENT.size, 1, 0, 0, 0,
    )
    # fmt: on
    segment = _SEGMENT.pack(load, read_and_execute, 0, _ADDRESS, _ADDRESS, size, size, align)
    return header + segment + body
