"""What a store of file bytes promises, wherever they lie."""

import mimetypes
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from schemas.files import FileRef
from schemas.ids import FileId, SessionId, TenantId


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A whole file in the store."""

    ref: FileRef
    owner: TenantId
    saved_at: datetime


class FileStore(Protocol):
    """Files by session and id. A file of another owner is as unknown as one that never was."""

    async def save(
        self, owner: TenantId, session_id: SessionId, name: str, content: AsyncIterator[bytes]
    ) -> FileRef:
        """Store `content` under a new id. It can be found only once it is whole. Raises `Unavailable`."""

    async def find(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> StoredFile | None:
        """Return a file of `owner`, or None."""

    def read(self, stored: StoredFile) -> AsyncIterator[bytes]:
        """Yield the bytes in chunks."""

    async def delete(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> bool:
        """Forget a file; returns whether there was one."""


def content_type_of(name: str) -> str:
    """Return the media type that `name` suggests."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
