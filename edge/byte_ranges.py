"""One range of bytes out of a file (RFC 9110, section 14), which is what resumed downloads ask for."""

import re
from dataclasses import dataclass

from edge.refusals import Refusal
from schemas.http import ErrorBody

_ONE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `start`, of `size_bytes`."""

    start: int
    length: int
    size_bytes: int

    @property
    def header(self) -> str:
        """The value of `Content-Range`."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size_bytes}"


def byte_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """Return the range that `header` asks for; None if it asks for none, or for something we do not do.

    Raises `Refusal` (416) for one that begins behind the end.
    """
    found = _ONE.fullmatch((header or "").strip())
    if not found or found[0] == "bytes=-":
        return None
    if not found[1]:
        length = min(int(found[2]), size_bytes)
        start, end = size_bytes - length, size_bytes
    else:
        start, end = int(found[1]), min(int(found[2] or size_bytes) + 1, size_bytes)
        if found[2] and int(found[2]) < start:
            return None
    if start >= end:
        raise _unsatisfiable(size_bytes)
    return ByteRange(start, end - start, size_bytes)


def _unsatisfiable(size_bytes: int) -> Refusal:
    message = f"The range begins behind the end of the file, which is {size_bytes} bytes long."
    body = ErrorBody(error="range_not_satisfiable", message=message, field="Range", limit=size_bytes)
    return Refusal(416, body, {"content-range": f"bytes */{size_bytes}"})
