"""File bytes in a local folder: `<root>/<session>/<file id>/` with `content` and `about.json`.

A file is written in a folder of its own beside the others and renamed into place when it is whole,
so that a crash leaves nothing that could be taken for a file.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from infra.errors import Unavailable
from infra.stores.files import StoredFile, content_type_of
from schemas.files import FileRef
from schemas.ids import FileId, SessionId, TenantId, is_opaque_id, new_id

CHUNK_BYTES = 256 * 1024
_UNFINISHED = ".part-"


class FolderStore:
    """A `FileStore` on this machine's disk, shared by all processes that see the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def save(
        self, owner: TenantId, session_id: SessionId, name: str, content: AsyncIterator[bytes]
    ) -> FileRef:
        """Write `content` aside, then rename it into place."""
        file_id = FileId(new_id())
        final = self._place(session_id, file_id)
        aside = final.with_name(_UNFINISHED + file_id)
        try:
            await asyncio.to_thread(aside.mkdir, parents=True, mode=0o700)
            size = await _write(aside / "content", content)
            ref = FileRef(
                id=file_id,
                session_id=session_id,
                name=name,
                size_bytes=size,
                content_type=content_type_of(name),
            )
            about = StoredFile(ref=ref, owner=owner, saved_at=datetime.now(UTC))
            await asyncio.to_thread((aside / "about.json").write_bytes, msgspec.json.encode(about))
            await asyncio.to_thread(aside.rename, final)
        except OSError as error:
            raise Unavailable(f"The file could not be stored: {error.strerror}.") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
        return ref

    async def find(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> StoredFile | None:
        """Return a file of `owner`, or None."""
        if not (is_opaque_id(session_id) and is_opaque_id(file_id)):
            return None
        about = self._place(session_id, file_id) / "about.json"
        try:
            stored = msgspec.json.decode(await asyncio.to_thread(about.read_bytes), type=StoredFile)
        except (OSError, msgspec.MsgspecError):
            return None
        return stored if stored.owner == owner else None

    async def read(self, stored: StoredFile) -> AsyncIterator[bytes]:
        """Yield the bytes in chunks of at most `CHUNK_BYTES`."""
        path = self._place(stored.ref.session_id, stored.ref.id) / "content"
        file = await asyncio.to_thread(path.open, "rb")
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
        finally:
            file.close()

    async def delete(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> bool:
        """Remove a file of `owner`; returns whether there was one."""
        if await self.find(owner, session_id, file_id) is None:
            return False
        await asyncio.to_thread(shutil.rmtree, self._place(session_id, file_id), ignore_errors=True)
        return True

    def _place(self, session_id: SessionId, file_id: FileId) -> Path:
        return self._root / session_id / file_id


async def _write(path: Path, content: AsyncIterator[bytes]) -> int:
    size = 0
    file = await asyncio.to_thread(path.open, "wb")
    try:
        async for chunk in content:
            await asyncio.to_thread(file.write, chunk)
            size += len(chunk)
        await asyncio.to_thread(file.flush)
    finally:
        file.close()
    return size
