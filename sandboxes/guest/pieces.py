"""A pickle for each variable, one after the other: its name, then pieces, each with its length."""

from __future__ import annotations

from typing import Any

from .packing import Broken, Packer, Unpacker

NAME_BYTES_MAX = 4096
_PIECE_BYTES_MAX = 1 << 30


class PieceWriter:
    """A file for a pickler: every write with its length before it."""

    def __init__(self, packer: Packer) -> None:
        self._packer = packer

    def begin(self, name: str) -> None:
        """Begin a variable; one without a name ends all."""
        self.write(name.encode("utf-8", "surrogatepass"))

    def write(self, data: Any) -> int:
        """Take a piece of a pickle."""
        view = memoryview(data).cast("B")
        if len(view) > _PIECE_BYTES_MAX:
            for start in range(0, len(view), _PIECE_BYTES_MAX):
                self.write(view[start : start + _PIECE_BYTES_MAX])
            return len(view)
        self._packer.write(len(view).to_bytes(4, "big"))
        self._packer.write(view)
        return len(view)

    def end(self) -> None:
        """End a variable."""
        self._packer.write(bytes(4))


class Pieces:
    """A file for an unpickler, which reads a variable's pieces as one."""

    def __init__(self, unpacker: Unpacker) -> None:
        self._unpacker = unpacker
        self._left = 0
        self._over = True

    def next_name(self) -> str:
        """Return the next variable's name, empty after the last."""
        size = self._length()
        if size > NAME_BYTES_MAX:
            raise Broken("it is damaged")
        self._left, self._over = 0, False
        return self._unpacker.read(size).decode("utf-8", "surrogatepass")

    def skip(self) -> None:
        """Go to the end of this variable."""
        while not self._over:
            self._unpacker.read(self._left)
            self._left = 0
            self._piece()

    def read(self, size: int) -> bytes:
        """Return `size` bytes, less at the end of the variable."""
        if 0 < size <= self._left:
            self._left -= size
            return self._unpacker.read(size)
        parts = []
        while size and (self._left or self._piece()):
            part = min(size, self._left)
            parts.append(self._unpacker.read(part))
            self._left -= part
            size -= part
        return b"".join(parts)

    def readinto(self, target: memoryview) -> int:
        """Fill `target`, less at the end of the variable."""
        filled = 0
        while filled < len(target) and (self._left or self._piece()):
            part = min(len(target) - filled, self._left)
            self._unpacker.readinto(memoryview(target)[filled : filled + part])
            self._left -= part
            filled += part
        return filled

    def readline(self) -> bytes:
        """Return bytes up to the next newline: opcodes of old protocols want it."""
        line = bytearray()
        while byte := self.read(1):
            line += byte
            if byte == b"\n":
                break
        return bytes(line)

    def _piece(self) -> bool:
        if not self._over:
            self._left = self._length()
            self._over = not self._left
        return not self._over

    def _length(self) -> int:
        return int.from_bytes(self._unpacker.read(4), "big")
