"""Objects in an S3 bucket."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from botocore.exceptions import ClientError

from infra.objects import S3Connection, code_of
from infra.stores.objects import CHUNK_BYTES, ObjectMissing, StoredObject, UnfinishedWrite, checked_key
from infra.stores.s3_upload import PART_BYTES, upload

_NO_KEY = {"NoSuchKey", "404"}
_NOT_OFFERED = {"NotImplemented", "501", "MethodNotAllowed", "405"}


class S3Objects:
    """An `ObjectStore` in one bucket. Only parts of a file are ever in memory, each `part_bytes` long."""

    def __init__(self, connection: S3Connection, part_bytes: int = PART_BYTES) -> None:
        self._connection = connection
        self._part_bytes = part_bytes
        self._prefix = connection.config.prefix
        self._bucket = connection.config.bucket

    async def put(self, key: str, content: AsyncIterator[bytes]) -> int:
        """Upload in one request what fits into one part, the rest in parts that appear together."""
        target = {"Bucket": self._bucket, "Key": self._prefix + checked_key(key)}
        return await upload(self._connection, target, content, self._part_bytes)

    async def get(self, key: str, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """Yield chunks of at most `CHUNK_BYTES` as they come."""
        if length == 0:
            return
        last = "" if length is None else str(start + length - 1)
        whole = start == 0 and length is None
        wanted = {} if whole else {"Range": f"bytes={start}-{last}"}
        body = await self._open(checked_key(key), wanted)
        if body is None:
            return
        async with body:
            while chunk := await self._chunk(body):
                yield chunk

    async def delete(self, key: str) -> None:
        """S3 counts a missing key as deleted."""
        async with self._connection.calling() as client:
            await client.delete_object(Bucket=self._bucket, Key=self._prefix + checked_key(key))

    async def listing(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Ask for a page at a time."""
        page: dict[str, Any] = {}
        while page is not None:
            async with self._connection.calling() as client:
                answer = await client.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._prefix + prefix, **page
                )
            for found in answer.get("Contents", ()):
                key = found["Key"].removeprefix(self._prefix)
                yield StoredObject(key, found["Size"], found["LastModified"])
            page = _next_page(answer, ContinuationToken="NextContinuationToken")

    async def unfinished(self, prefix: str) -> AsyncIterator[UnfinishedWrite]:
        """Yield multipart uploads; a server that cannot list them is taken to have none."""
        page: dict[str, Any] = {}
        while page is not None:
            answer = await self._uploads(prefix, page)
            for found in answer.get("Uploads", ()):
                key = found["Key"].removeprefix(self._prefix)
                yield UnfinishedWrite(key, found["Initiated"], found["UploadId"])
            page = _next_page(answer, KeyMarker="NextKeyMarker", UploadIdMarker="NextUploadIdMarker")

    async def discard(self, write: UnfinishedWrite) -> None:
        """Abort the upload; its parts are freed."""
        async with self._connection.calling() as client:
            with contextlib.suppress(client.exceptions.NoSuchUpload):
                await client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._prefix + write.key, UploadId=write.token
                )

    async def check(self) -> None:
        """Look at one key at most."""
        async with self._connection.calling(self._connection.config.connect_timeout_s) as client:
            await client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connection.aclose()

    async def _open(self, key: str, wanted: dict[str, str]) -> Any:
        """Return the body of the answer, None where the range begins behind the end."""
        async with self._connection.calling() as client:
            try:
                answer = await client.get_object(Bucket=self._bucket, Key=self._prefix + key, **wanted)
            except ClientError as error:
                if code_of(error) == "InvalidRange":
                    return None
                if code_of(error) not in _NO_KEY:
                    raise
                raise ObjectMissing(key) from error
        return answer["Body"]

    async def _chunk(self, body: Any) -> bytes:
        async with self._connection.calling():
            chunk: bytes = await body.read(CHUNK_BYTES)
            return chunk

    async def _uploads(self, prefix: str, page: dict[str, Any]) -> dict[str, Any]:
        async with self._connection.calling() as client:
            try:
                answer: dict[str, Any] = await client.list_multipart_uploads(
                    Bucket=self._bucket, Prefix=self._prefix + prefix, **page
                )
            except ClientError as error:
                if code_of(error) not in _NOT_OFFERED:
                    raise
                return {}
        return answer


def _next_page(answer: dict[str, Any], **markers: str) -> Any:
    """Return the arguments that ask for the page after `answer`, or None."""
    if not answer.get("IsTruncated"):
        return None
    return {argument: answer[field] for argument, field in markers.items() if answer.get(field)}
