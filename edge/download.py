"""A stored file as an answer, streamed: whole, in part, or not again if the client has it."""

from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from edge.byte_ranges import byte_range
from edge.http_dates import http_date
from edge.refusals import refuse
from infra.errors import RequestRefused
from infra.stores.files import FileStore
from infra.stores.stored_file import StoredFile


async def download(request: Request, stored: StoredFile, files: FileStore) -> Response:
    """Return the bytes that `request` asks for. Raises `Refusal`: 404 if they are gone, 416."""
    headers = _headers(stored)
    if headers["etag"] in _entity_tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    size_bytes = stored.ref.size_bytes
    part = byte_range(_wanted_range(request, headers), size_bytes)
    start, length = (part.start, part.length) if part else (0, size_bytes)
    headers["content-length"] = str(length)
    if part:
        headers["content-range"] = part.header
    status = 206 if part else 200
    if request.method == "HEAD" or length == 0:
        return Response(status_code=status, headers=headers)
    content = await _begun(files.read(stored, start, length))
    return StreamingResponse(content, status, headers)


async def _begun(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return `content` once its first bytes are here: until then the answer may still be an error."""
    try:
        first = await anext(content, b"")
    except RequestRefused:
        raise refuse(404, "file_not_found", "There is no such file, or no longer.", "file") from None
    return _chained(first, content)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _wanted_range(request: Request, headers: dict[str, str]) -> str | None:
    """Return the range, unless it is of another version of the file than the one that is here."""
    of_version = request.headers.get("if-range")
    if of_version is not None and of_version not in (headers["etag"], headers["last-modified"]):
        return None
    return request.headers.get("range")


def _headers(stored: StoredFile) -> dict[str, str]:
    """Return what a browser needs to save the file; front ends pass these on to it as they are."""
    return {
        "content-type": stored.ref.content_type,
        "content-disposition": _disposition(stored.ref.name),
        "etag": f'"{stored.etag}"',
        "last-modified": http_date(stored.saved_at),
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        # What code made is never to be run as a page by whoever passes it on.
        "x-content-type-options": "nosniff",
    }


def _disposition(name: str) -> str:
    """Return `Content-Disposition` for the last segment of `name` (RFC 6266, section 4.1)."""
    last = name.rpartition("/")[2]
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in last)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='')}"


def _entity_tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
