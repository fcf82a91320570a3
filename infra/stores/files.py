"""Stored files: bytes in an object store, what is known of them in Redis, and the two kept in step.

A file is listed only when it is whole: its bytes are stored first and its record appears last. It is
unknown from the moment its record goes; its bytes follow at once if they can, else with the next sweep.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import structlog
from msgspec import UNSET

from infra.errors import RequestRefused, Unavailable
from infra.stores.file_quota import Measured
from infra.stores.file_records import FileRecords
from infra.stores.objects import ObjectMissing, ObjectStore
from infra.stores.stored_file import FileAttributes, StoredFile, content_type_of
from schemas.files import FileRef
from schemas.ids import FileId, SessionId, TenantId, is_opaque_id, new_id

FILES_PREFIX = "files/"
PLAIN = FileAttributes()
_UNDO_WITHIN_S = 10.0

log = structlog.get_logger(__name__)


class FileStore:
    """Files by session and id. A file of another owner is as unknown as one that never was.

    Everything raises `Unavailable`, naming the store, when the bytes or the records cannot be reached.
    """

    def __init__(self, objects: ObjectStore, records: FileRecords) -> None:
        self.objects = objects
        self.records = records
        self._undoing: set[asyncio.Task[None]] = set()

    async def save(
        self,
        owner: TenantId,
        session_id: SessionId,
        name: str,
        content: AsyncIterator[bytes],
        attributes: FileAttributes = PLAIN,
    ) -> FileRef:
        """Store `content` under a new id. It can be found only once it is whole; if not, nothing is left.

        Raises:
            QuotaExceeded: the file is too long, or the session full.
            RequestRefused: the session is another owner's, or no id; the name is no text.
            Unavailable: it could not be stored now.
        """
        _check_words(session_id, name)
        file_id = FileId(new_id())
        try:
            async with self.records.writing(owner, session_id, file_id) as session_bytes:
                measured = Measured(content, self.records.quota, session_bytes)
                with_undo = self._undone_on_failure(session_id, file_id)
                async with with_undo, contextlib.aclosing(measured.chunks()) as chunks:
                    await self.objects.put(object_key(session_id, file_id), chunks)
                    ref = FileRef(
                        id=file_id,
                        session_id=session_id,
                        name=name,
                        size_bytes=measured.size_bytes,
                        content_type=attributes.content_type or content_type_of(name),
                        modified_from=attributes.modified_from or UNSET,
                    )
                    now = datetime.now(UTC)
                    await self.records.commit(StoredFile(ref, owner, now, measured.sha256, attributes))
                return ref
        finally:
            await _close(content)

    async def find(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> StoredFile | None:
        """Return a file of `owner`, or None. Its session lives on for another TTL."""
        if not (is_opaque_id(session_id) and is_opaque_id(file_id)):
            return None
        return await self.records.find(owner, session_id, file_id)

    async def find_anywhere(self, owner: TenantId, file_id: FileId) -> StoredFile | None:
        """Return a file of `owner` whatever session it is in, or None."""
        if not is_opaque_id(file_id):
            return None
        session_id = await self.records.session_of(file_id)
        return None if session_id is None else await self.find(owner, session_id, file_id)

    async def listing(self, owner: TenantId, session_id: SessionId) -> list[StoredFile]:
        """Return the files of a session in the order in which they were saved; none if it is unknown."""
        return await self.records.listing(owner, session_id) if is_opaque_id(session_id) else []

    async def read(
        self, stored: StoredFile, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes, or `length` of them from `start`, in chunks.

        Raises `RequestRefused` at the first step if the file is gone meanwhile.
        """
        key = object_key(stored.ref.session_id, stored.ref.id)
        try:
            async with contextlib.aclosing(self.objects.get(key, start, length)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ObjectMissing as error:
            message = f"The file {stored.ref.name!r} is no longer stored."
            raise RequestRefused(message, field="file_id") from error

    async def delete(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> bool:
        """Forget a file; returns whether there was one."""
        if await self.find(owner, session_id, file_id) is None:
            return False
        await self.records.forget(session_id, [file_id])
        await self._remove_bytes(session_id, [file_id])
        return True

    async def delete_session(self, owner: TenantId, session_id: SessionId) -> int:
        """Forget all files of a session, and those that are being written; returns how many were whole."""
        if not is_opaque_id(session_id):
            return 0
        file_ids = await self.records.clear(owner, session_id)
        await self._remove_bytes(session_id, file_ids)
        return len(file_ids)

    async def check(self) -> None:
        """Return if bytes can be stored. Raises `Unavailable`."""
        await self.objects.check()

    async def aclose(self) -> None:
        """End what is being cleared away and let go of connections. The Redis client is not ours."""
        await asyncio.gather(*self._undoing, return_exceptions=True)
        await self.objects.aclose()

    @contextlib.asynccontextmanager
    async def _undone_on_failure(self, session_id: SessionId, file_id: FileId) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:
            # In a task of its own: ours may be cancelled again at every await.
            undoing = asyncio.create_task(self._undo(session_id, file_id, error))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            await asyncio.shield(undoing)
            raise

    async def _undo(self, session_id: SessionId, file_id: FileId, error: BaseException) -> None:
        """Leave nothing of a file that was not saved. What cannot be reached is left to a sweep."""
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_UNDO_WITHIN_S):
                # First the record: bytes that are still listed must not be removed.
                await self.records.forget(session_id, [file_id])
                if not isinstance(error, Unavailable):
                    await self._remove_bytes(session_id, [file_id])

    async def _remove_bytes(self, session_id: SessionId, file_ids: list[FileId]) -> None:
        try:
            for file_id in file_ids:
                await self.objects.delete(object_key(session_id, file_id))
        except Unavailable as error:
            log.warning("bytes_left_to_sweep", session_id=session_id, reason=error.message)


def object_key(session_id: SessionId, file_id: FileId) -> str:
    """Return where the bytes of a file lie."""
    return f"{FILES_PREFIX}{session_id}/{file_id}"


def ids_of(key: str) -> tuple[SessionId, FileId] | None:
    """Return what `object_key` made `key` of, or None if it did not."""
    match key.removeprefix(FILES_PREFIX).split("/"):
        case [session_id, file_id] if is_opaque_id(session_id) and is_opaque_id(file_id):
            return SessionId(session_id), FileId(file_id)
        case _:
            return None


def _check_words(session_id: SessionId, name: str) -> None:
    if not is_opaque_id(session_id):
        raise RequestRefused("The session id must be 1 to 128 of [A-Za-z0-9_-].", field="session_id")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise RequestRefused("The name of the file is no valid Unicode.", field="name") from error


async def _close(content: AsyncIterator[bytes]) -> None:
    """Let the source go: it may hold a file or a connection, and was perhaps not read to its end."""
    aclose = getattr(content, "aclose", None)
    if aclose is not None:
        await aclose()
