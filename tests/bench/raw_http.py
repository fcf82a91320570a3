"""The least a client can do over a kept connection, so that many of them fit beside what they measure."""

import asyncio
import json

from service import KEY


def request_of(path: str, body: object) -> bytes:
    """Return a POST as it goes over the wire."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1",
        "host: bench",
        "content-type: application/json",
        f"x-api-key: {KEY}",
        f"content-length: {len(content)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "RawClient":
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, request: bytes, status: int) -> None:
        """Send a request and read its answer to the end, which must have `status`."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % status), head
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
