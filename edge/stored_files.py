"""The reading side of the file routes: what there is, whether it lives, its bytes; and deleting it.

A file of another owner is answered in the same words as one that never was.
"""

import re
from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edge.authentication import tenant_of
from edge.download import download
from edge.refusals import Refusal, refuse
from edge.responses import json_response
from infra.stores.files import FileStore
from infra.stores.stored_file import StoredFile
from schemas.compatible_files import (
    Deleted,
    FileMetadata,
    FileObject,
    FullFile,
    NormalizedFile,
    SimpleFile,
    SummaryFile,
)
from schemas.ids import FileId, SessionId

_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,16}$")


class StoredFiles:
    """Files by session and id, as the compatible contract shows them."""

    def __init__(self, files: FileStore) -> None:
        self._files = files

    async def listing(self, request: Request) -> Response:
        """GET /files/{session}?detail=...: an array, empty for a session that is unknown."""
        session_id = SessionId(request.path_params["session"])
        view = _VIEWS.get(request.query_params.get("detail", "simple"))
        if view is None:
            raise refuse(400, "invalid_request", f"detail must be one of {', '.join(_VIEWS)}.", "detail")
        found = await self._files.listing(tenant_of(request), session_id)
        return json_response([view(stored) for stored in found if _is_asked_for(stored, request)])

    async def show(self, request: Request) -> Response:
        """GET /sessions/{session}/objects/{file}: 200 while the file can be used, else 404."""
        stored = await self._find(request)
        if not _is_asked_for(stored, request):
            raise _unknown()
        return json_response(_object(stored))

    async def download(self, request: Request) -> Response:
        """GET and HEAD /download/{session}/{file}: the bytes, or a range of them."""
        return await download(request, await self._find(request), self._files)

    async def delete(self, request: Request) -> Response:
        """DELETE /files/{session}/{file}: 200, or 404 if there is none."""
        session_id, file_id = _path(request)
        if not await self._files.delete(tenant_of(request), session_id, file_id):
            raise _unknown()
        return json_response(Deleted(session_id=session_id, file_id=file_id))

    async def _find(self, request: Request) -> StoredFile:
        stored = await self._files.find(tenant_of(request), *_path(request))
        if stored is None:
            raise _unknown()
        return stored


def _path(request: Request) -> tuple[SessionId, FileId]:
    """Return the ids in the path; some clients put the extension behind the file's."""
    return SessionId(request.path_params["session"]), FileId(request.path_params["file"].partition(".")[0])


def _unknown() -> Refusal:
    return refuse(404, "file_not_found", "There is no such file, or no longer.", "file")


def _is_asked_for(stored: StoredFile, request: Request) -> bool:
    """Whether the file belongs to what the query names, as far as both say something about it.

    A client that asks for version 8 of a skill must learn that what is stored is version 7.
    """
    asked = request.query_params
    known = stored.attributes
    pairs: Sequence[tuple[str | None, str | int | None]] = (
        (asked.get("kind"), known.kind),
        (asked.get("id"), known.resource_id),
        (asked.get("version"), known.version),
        (asked.get("entity_id"), known.entity_id),
    )
    return all(not wanted or have is None or wanted == str(have) for wanted, have in pairs)


def _simple(stored: StoredFile) -> msgspec.Struct:
    ref = stored.ref
    return SimpleFile(id=ref.id, name=ref.name, session_id=ref.session_id, storage_session_id=ref.session_id)


def _summary(stored: StoredFile) -> msgspec.Struct:
    return SummaryFile(
        name=_storage_name(stored),
        last_modified=stored.saved_at,
        size=stored.ref.size_bytes,
        etag=stored.etag,
    )


def _full(stored: StoredFile) -> msgspec.Struct:
    ref, known = stored.ref, stored.attributes
    return FullFile(
        name=_storage_name(stored),
        last_modified=stored.saved_at,
        size=ref.size_bytes,
        etag=stored.etag,
        id=ref.id,
        session_id=ref.session_id,
        storage_session_id=ref.session_id,
        content_type=ref.content_type,
        metadata=FileMetadata(original_filename=ref.name, content_type=ref.content_type),
        resource_id=known.resource_id or msgspec.UNSET,
        kind=known.kind or msgspec.UNSET,
        version=msgspec.UNSET if known.version is None else known.version,
    )


def _normalized(stored: StoredFile) -> msgspec.Struct:
    ref = stored.ref
    return NormalizedFile(
        id=ref.id,
        name=ref.name,
        storage_session_id=ref.session_id,
        size=ref.size_bytes,
        content_type=ref.content_type,
        last_modified=stored.saved_at,
    )


_VIEWS = {"simple": _simple, "summary": _summary, "full": _full, "normalized": _normalized}


def _object(stored: StoredFile) -> FileObject:
    ref = stored.ref
    return FileObject(
        id=ref.id,
        session_id=ref.session_id,
        storage_session_id=ref.session_id,
        original_filename=ref.name,
        last_modified=stored.saved_at,
        size=ref.size_bytes,
        etag=stored.etag,
        content_type=ref.content_type,
        read_only=stored.attributes.read_only,
    )


def _storage_name(stored: StoredFile) -> str:
    """Return `<session>/<file id>[.ext]`; ids have no dots, so the id ends where the extension begins."""
    ref = stored.ref
    extension = _EXTENSION.search(ref.name)
    return f"{ref.session_id}/{ref.id}{extension[0] if extension else ''}"
