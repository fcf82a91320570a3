"""How much may be stored, and what is said when it is too much."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Literal

from infra.errors import RequestRefused

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FileQuota:
    """Bounds on the files of one session."""

    files_max: int
    file_bytes_max: int
    session_bytes_max: int


class QuotaExceeded(RequestRefused):
    """A file would break a bound; nothing of it was kept."""

    def __init__(
        self, broken: Literal["file_bytes_max", "files_max", "session_bytes_max"], message: str, limit: int
    ) -> None:
        super().__init__(message, field="file", limit=limit)
        self.broken = broken
        """Which of `FileQuota`."""


def too_large(quota: FileQuota) -> QuotaExceeded:
    """Return what to say of a single file."""
    limit = quota.file_bytes_max
    return QuotaExceeded("file_bytes_max", f"A file may be at most {_size(limit)} long.", limit)


def too_many(quota: FileQuota) -> QuotaExceeded:
    """Return what to say of one file more."""
    limit = quota.files_max
    return QuotaExceeded("files_max", f"A session may hold at most {limit} files.", limit)


def too_much(quota: FileQuota) -> QuotaExceeded:
    """Return what to say when the session's files would be too long together."""
    limit = quota.session_bytes_max
    message = f"The files of a session may be at most {_size(limit)} long together."
    return QuotaExceeded("session_bytes_max", message, limit)


class Measured:
    """Bytes on their way into the store: counted, digested, and stopped at the quota."""

    def __init__(self, content: AsyncIterator[bytes], quota: FileQuota, session_bytes: int) -> None:
        self._content = content
        self._quota = quota
        self._room = quota.session_bytes_max - session_bytes
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of what has passed, in hexadecimal."""
        return self._digest.hexdigest()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the content. Raises `QuotaExceeded` as soon as it is too much."""
        async for chunk in self._content:
            self.size_bytes += len(chunk)
            if self.size_bytes > self._quota.file_bytes_max:
                raise too_large(self._quota)
            if self.size_bytes > self._room:
                raise too_much(self._quota)
            self._digest.update(chunk)
            yield chunk


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:g} MiB" if size_bytes >= _MIB else f"{size_bytes} bytes"
