"""`POST /upload` and `/upload/batch`: files streamed into the store, all of a request in one new session.

A single upload is taken whole or not at all. Of a batch every file has its own fate. A request that
breaks off, or is no multipart, leaves nothing of either kind.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from edge.authentication import tenant_of
from edge.body import body_chunks
from edge.config import EdgeConfig
from edge.file_refusals import FileRefused, check_name, over_quota
from edge.multipart import MultipartForm, Part
from edge.refusals import Refusal, refuse
from edge.responses import json_response
from edge.upload_fields import UploadFields
from infra.errors import Unavailable
from infra.stores.file_quota import QuotaExceeded
from infra.stores.files import FileStore
from schemas.compatible_files import BatchAnswer, BatchFile, UploadAnswer, UploadedFile
from schemas.files import FileRef
from schemas.ids import SessionId, TenantId, new_id

_MEDIA_TYPE_LENGTH_MAX = 200


class Uploads:
    """The writing side of the file routes."""

    def __init__(self, config: EdgeConfig, files: FileStore) -> None:
        self._config = config
        self._files = files

    async def single(self, request: Request) -> Response:
        """POST /upload: 200 once every file is stored; nothing is if one of them cannot be."""
        owner = tenant_of(request)
        async with self._new_session(owner) as session_id:
            taken = [
                UploadedFile(file_id=ref.id, filename=ref.name)
                async for _, ref in self._stored(request, owner, session_id, forgiving=False)
                if isinstance(ref, FileRef)
            ]
            if not taken:
                raise _no_file()
        return json_response(UploadAnswer(session_id=session_id, storage_session_id=session_id, files=taken))

    async def batch(self, request: Request) -> Response:
        """POST /upload/batch: 200 if any file is stored, with the fate of each; 400 if none is."""
        owner = tenant_of(request)
        async with self._new_session(owner) as session_id:
            fates = [
                _fate(name, result)
                async for name, result in self._stored(request, owner, session_id, forgiving=True)
            ]
            if not fates:
                raise _no_file()
        return _batch_response(session_id, fates)

    @asynccontextmanager
    async def _new_session(self, owner: TenantId) -> AsyncGenerator[SessionId]:
        """Yield a session for the files; if the block fails nothing is left of them."""
        session_id = SessionId(new_id())
        try:
            yield session_id
        except BaseException:
            # In a task of its own: ours may be cancelled again at every await. What cannot be reached
            # now expires with the session, which nobody was told of.
            with suppress(Unavailable):
                await asyncio.shield(asyncio.create_task(self._files.delete_session(owner, session_id)))
            raise

    async def _stored(
        self, request: Request, owner: TenantId, session_id: SessionId, *, forgiving: bool
    ) -> AsyncGenerator[tuple[str, FileRef | FileRefused]]:
        """Store every file of the form; yields its name, and what it became or why it was not taken."""
        chunks = body_chunks(request, self._config.body_timeout_s)
        fields = UploadFields()
        late = False
        async with aclosing(chunks):
            form = MultipartForm(request.headers.get("content-type", ""), chunks)
            async for part in form.parts():
                if part.filename is None:
                    await fields.take(part, late=late)
                    continue
                late = True
                try:
                    yield part.filename, await self._store(owner, session_id, part, fields)
                except FileRefused as refused:
                    if not forgiving:
                        raise
                    yield part.filename, refused

    async def _store(
        self, owner: TenantId, session_id: SessionId, part: Part, fields: UploadFields
    ) -> FileRef:
        assert part.filename is not None, "a file"
        check_name(part.filename, self._config.bounds.file_name_length_max)
        attributes = fields.attributes(_media_type(part.content_type))
        try:
            return await self._files.save(owner, session_id, part.filename, part.chunks(), attributes)
        except QuotaExceeded as exceeded:
            raise over_quota(exceeded) from None


def _no_file() -> Refusal:
    return refuse(400, "invalid_request", "The form has no file.", "file")


def _media_type(declared: str | None) -> str | None:
    """Return what the client says the file is, unless it says nothing: the name says more then."""
    if not declared or declared.startswith("application/octet-stream"):
        return None
    usable = declared.isascii() and declared.isprintable() and len(declared) <= _MEDIA_TYPE_LENGTH_MAX
    return declared if usable else None


def _fate(name: str, result: FileRef | FileRefused) -> BatchFile:
    if isinstance(result, FileRefused):
        return BatchFile(status="error", filename=name, error=result.body.message)
    return BatchFile(status="success", filename=name, file_id=result.id)


def _batch_response(session_id: SessionId, fates: list[BatchFile]) -> Response:
    failed = sum(fate.status == "error" for fate in fates)
    succeeded = len(fates) - failed
    answer = BatchAnswer(
        message="error" if not succeeded else "partial_success" if failed else "success",
        session_id=session_id,
        storage_session_id=session_id,
        files=fates,
        succeeded=succeeded,
        failed=failed,
        error=UNSET if succeeded else "no_file_stored",
    )
    return json_response(answer, 200 if succeeded else 400)
