"""Bytes under keys: what every place that keeps them promises. What they mean is known elsewhere.

A key is at least two segments of `[A-Za-z0-9_-]`, joined by `/`, and no key is the folder of another:
that is what both file systems and every S3 server can hold.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

CHUNK_BYTES = 256 * 1024

_KEY = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)+")
_KEY_LENGTH_MAX = 200


class ObjectMissing(Exception):
    """There is no object under that key."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A whole object."""

    key: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class UnfinishedWrite:
    """A write that is under way, or that died."""

    key: str
    active_at: datetime
    """When it was last seen to do something."""
    token: str
    """By which its place knows it."""


class ObjectStore(Protocol):
    """Where bytes lie. All raises `Unavailable` when the place is away, full or refuses us."""

    async def put(self, key: str, content: AsyncIterator[bytes]) -> int:
        """Store `content`, in place of what was there, at once when it is whole; returns its size in bytes.

        If this or `content` raises, or the task is cancelled, the key is as before and nothing is left.
        """

    def get(self, key: str, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """Yield `length` bytes from `start`, or up to the end, in chunks. Raises `ObjectMissing`."""

    async def delete(self, key: str) -> None:
        """Remove an object, if there is one."""

    def listing(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Yield the objects whose keys begin with `prefix`, which ends in a slash."""

    def unfinished(self, prefix: str) -> AsyncIterator[UnfinishedWrite]:
        """Yield the writes below `prefix` that have not come to their end."""

    async def discard(self, write: UnfinishedWrite) -> None:
        """End a write that died and free what it took; a live one fails."""

    async def check(self) -> None:
        """Return if the place can be reached and used."""

    async def aclose(self) -> None:
        """Let go of connections."""


def checked_key(key: str) -> str:
    """Return `key`, which must be one: see above."""
    assert _KEY.fullmatch(key) and len(key) <= _KEY_LENGTH_MAX, f"{key!r} is no object key"
    return key
