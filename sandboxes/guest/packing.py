"""Bytes of a saved state on their way into a file and back, compressed where that pays.

A block of at most 256 KiB is a kind (`0` as it is, `z` zlib), the length of what follows, and that. Numbers
and pictures hardly shrink, and zlib needs forty times longer for them than for text: a short sample of
every 256 KiB decides. What is large is written as it comes, and what is read is looked at where the file
lies: each page that a short program touches anew costs it as much as copying it.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

BLOCK_BYTES = 256 * 1024
_LARGE_BYTES = 32 * 1024
"""What is smaller waits until as much is together. A pickler writes 64 KiB at a time."""
_HEAD = struct.Struct(">cI")
_AS_IT_IS, _ZLIB = b"0", b"z"
_LEVEL = 1
_SAMPLE_BYTES = 2048
_SAMPLE_WINDOW, _SAMPLE_MEMORY = -13, 6
"""For a look at a sample zlib's usual tables would have to be cleared first, which takes longer."""
_WORTH_IT = 0.7


class TooLarge(Exception):
    """What was to be saved takes more than it may."""


class NoRoom(Exception):
    """The file could not be written; says why."""


class Broken(Exception):
    """What was saved is no saved state, or not all of one."""


class Packer:
    """Writes to `file`, at most `bytes_max`. Raises `TooLarge` and `NoRoom`."""

    def __init__(self, file: BinaryIO, bytes_max: int) -> None:
        self._file = file
        self._left = bytes_max
        self._pending = bytearray()
        self._shrinks = False
        self._judged_bytes = 0
        """For how much of what comes `_shrinks` holds."""

    def write(self, data: bytes | memoryview) -> int:
        """Take any number of bytes."""
        view = memoryview(data).cast("B")
        if len(view) < _LARGE_BYTES:
            self._pending += view
            if len(self._pending) >= _LARGE_BYTES:
                self.flush()
            return len(view)
        self.flush()
        for start in range(0, len(view), BLOCK_BYTES):
            self._pack(view[start : start + BLOCK_BYTES])
        return len(view)

    def flush(self) -> None:
        """Write what waits for a block worth writing."""
        if self._pending:
            self._pack(memoryview(self._pending))
            self._pending = bytearray()

    def _pack(self, block: memoryview) -> None:
        kind: bytes = _AS_IT_IS
        body: bytes | memoryview = block
        if self._is_to_be_compressed(block):
            kind, body = _ZLIB, zlib.compress(block, _LEVEL)
        self._left -= _HEAD.size + len(body)
        if self._left < 0:
            raise TooLarge
        try:
            self._file.write(_HEAD.pack(kind, len(body)))
            self._file.write(body)
        except OSError as error:
            raise NoRoom(error.strerror) from error

    def _is_to_be_compressed(self, block: memoryview) -> bool:
        if len(block) < _SAMPLE_BYTES:
            return False
        if self._judged_bytes <= 0:
            self._shrinks = _shrinks(block[:_SAMPLE_BYTES])
            self._judged_bytes = BLOCK_BYTES
        self._judged_bytes -= len(block)
        return self._shrinks


def _shrinks(sample: memoryview) -> bool:
    looker = zlib.compressobj(_LEVEL, zlib.DEFLATED, _SAMPLE_WINDOW, _SAMPLE_MEMORY)
    return len(looker.compress(sample)) + len(looker.flush()) < len(sample) * _WORTH_IT


class Unpacker:
    """Reads what a `Packer` wrote. Raises `Broken`."""

    def __init__(self, packed: memoryview) -> None:
        self._packed = packed
        self._block = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        if size <= len(self._block):
            taken, self._block = self._block[:size], self._block[size:]
            return bytes(taken)
        data = bytearray()
        while len(data) < size:
            if not self._block:
                self._block = self._next()
            part = size - len(data)
            data += self._block[:part]
            self._block = self._block[part:]
        return bytes(data)

    def readinto(self, target: memoryview) -> int:
        """Fill `target`."""
        view, filled = memoryview(target).cast("B"), 0
        while filled < len(view):
            if not self._block:
                self._block = self._next()
            part = self._block[: len(view) - filled]
            view[filled : filled + len(part)] = part
            self._block = self._block[len(part) :]
            filled += len(part)
        return filled

    def _next(self) -> memoryview:
        kind, size = _HEAD.unpack(self._exactly(_HEAD.size))
        if size > 2 * BLOCK_BYTES or kind not in (_AS_IT_IS, _ZLIB):
            raise Broken("it is damaged")
        body = self._exactly(size)
        if kind == _AS_IT_IS:
            return body
        try:
            return memoryview(zlib.decompressobj().decompress(body, BLOCK_BYTES))
        except zlib.error as error:
            raise Broken("it is damaged") from error

    def _exactly(self, size: int) -> memoryview:
        data, self._packed = self._packed[:size], self._packed[size:]
        if len(data) < size:
            raise Broken("its end is missing")
        return data
