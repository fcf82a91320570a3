"""One upload to S3: a single request for what is small, else parts that appear together or not at all."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import structlog

from infra.errors import Unavailable
from infra.objects import S3Connection

PART_BYTES = 8 * 1024 * 1024
"""S3 wants at least 5 MiB for every part but the last, and takes 10 000 parts: up to 78 GiB."""
_ABORT_WITHIN_S = 5.0

log = structlog.get_logger(__name__)


async def upload(
    connection: S3Connection, target: dict[str, str], content: AsyncIterator[bytes], part_bytes: int
) -> int:
    """Store `content` as `target` (`Bucket`, `Key`); returns its size in bytes. Raises `Unavailable`."""
    async with contextlib.aclosing(_parts(content, part_bytes)) as parts:
        part = await anext(parts, b"")
        if len(part) < part_bytes:
            async with connection.calling() as client:
                await client.put_object(**target, Body=part)
            return len(part)
        async with _multipart(connection, target) as multipart:
            while part:
                await multipart.send(part)
                part = b""  # lets it go before the next is gathered
                part = await anext(parts, b"")
            return await multipart.complete()


@contextlib.asynccontextmanager
async def _multipart(connection: S3Connection, target: dict[str, str]) -> AsyncIterator["_Multipart"]:
    """Begin an upload in parts; abort it if the block fails."""
    async with connection.calling() as client:
        upload_id = (await client.create_multipart_upload(**target))["UploadId"]
    multipart = _Multipart(connection, {**target, "UploadId": upload_id})
    try:
        yield multipart
    except BaseException:
        # In a task of its own: ours may be cancelled again at every await.
        await asyncio.shield(asyncio.create_task(multipart.abort()))
        raise


class _Multipart:
    """Parts are sent one after the other, so that no more than one is in memory."""

    def __init__(self, connection: S3Connection, target: dict[str, str]) -> None:
        self._connection = connection
        self._target = target
        self._sent: list[dict[str, Any]] = []
        self._size = 0

    async def send(self, part: bytes) -> None:
        number = len(self._sent) + 1
        async with self._connection.calling() as client:
            answer = await client.upload_part(**self._target, PartNumber=number, Body=part)
        self._sent.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._size += len(part)

    async def complete(self) -> int:
        """Let the object appear; returns its size in bytes."""
        async with self._connection.calling() as client:
            await client.complete_multipart_upload(**self._target, MultipartUpload={"Parts": self._sent})
        return self._size

    async def abort(self) -> None:
        """Free the parts. Where that fails too, a sweep finds them later."""
        with contextlib.suppress(Unavailable):
            async with self._connection.calling(_ABORT_WITHIN_S) as client:
                await client.abort_multipart_upload(**self._target)
                return
        log.warning("upload_not_aborted", key=self._target["Key"])


async def _parts(content: AsyncIterator[bytes], part_bytes: int) -> AsyncGenerator[bytes]:
    """Yield `content` again in parts of exactly `part_bytes`; the last is shorter, or there is none."""
    gathered = bytearray()
    async for chunk in content:
        rest = memoryview(chunk)
        while len(gathered) + len(rest) >= part_bytes:
            room = part_bytes - len(gathered)
            gathered += rest[:room]
            rest = rest[room:]
            yield _taken(gathered)
        gathered += rest
    if gathered:
        yield _taken(gathered)


def _taken(gathered: bytearray) -> bytes:
    """Empty `gathered` and return what it held."""
    part = bytes(gathered)
    gathered.clear()
    return part
