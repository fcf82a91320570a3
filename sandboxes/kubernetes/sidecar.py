"""The way to a pod's sidecar: what sandboxes/sidecar/PROTOCOL.md says, from the handler's side.

Every failure comes out as one of two: the sidecar refused (`SidecarRefused`), or it is not there
(`SidecarLost`), which says nothing yet about why.
"""

import asyncio
import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler

from infra.errors import MillraceError

_HEAD = struct.Struct(">cII")
_PAYLOAD_BYTES_MAX = 1 << 20
_CHUNK_BYTES = 256 * 1024
_CONNECT_S, _ANSWER_S = 3.0, 15.0


class SidecarLost(MillraceError):
    """It does not answer, or not any more."""


class SidecarRefused(MillraceError):
    """It answered, and would not do it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """What a sidecar says of its pod when it is claimed."""

    machine: str = "x86_64"
    """As `uname -m` says it, where the code runs."""
    warm: bool = False
    """A runtime waits for its program."""


@dataclass(frozen=True, slots=True)
class RunFrame:
    """One frame of a run: its kind is one letter, see the protocol."""

    kind: str
    payload: bytes


class _Connector(aiohttp.BaseConnector):
    """Connects to one address as it is: to look it up and to race for it cost a fifth of a claim."""

    def __init__(self, address: str) -> None:
        super().__init__(limit=0)
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)

    async def _create_connection(
        self, _request: aiohttp.ClientRequest, _traces: Sequence[object], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        async with asyncio.timeout(timeout.sock_connect):
            _, protocol = await self._loop.create_connection(self._factory, self._host, self._port)
        return protocol


class Sidecar:
    """One pod's sidecar, at `address`, a host and port."""

    def __init__(self, address: str, secret: str) -> None:
        # connections of its own: another pod may have had this address before
        self._session = aiohttp.ClientSession(
            connector=_Connector(address), trust_env=False, auto_decompress=False
        )
        self._url = f"http://{address}"
        self._headers = {"Authorization": f"Bearer {secret}"}

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._session.close()

    async def claim(self, holder: str) -> Claimed:
        """Make the pod this holder's, or learn that it is another's."""
        answer = await self._bytes("POST", "/v1/claim", data=json.dumps({"holder": holder}).encode())
        return msgspec.json.decode(answer, type=Claimed)

    async def put(self, root: str, name: str, content: AsyncIterator[bytes] | bytes) -> None:
        """Write a file below `root`: `data` or `program`."""
        await self._bytes("PUT", "/v1/file", params={"root": root, "name": name}, data=content, answer_s=None)

    async def run(self, order: dict[str, Any], silence_s_max: float) -> AsyncGenerator[RunFrame, None]:
        """Start the code; yields frames without the heartbeats, up to the last one and not beyond."""
        body = json.dumps(order).encode()
        async with self._asked("POST", "/v1/run", data=body, answer_s=silence_s_max) as response:
            number = 0
            while True:
                frame, number = await _read_frame(response.content, number, silence_s_max)
                is_last = frame.kind in "xf"
                if is_last:  # at the answer's end the sidecar, too, counts the run as over
                    async with asyncio.timeout(silence_s_max):
                        await response.content.read()
                if frame.kind != "h":
                    yield frame
                if is_last:
                    return

    async def send_input(self, data: bytes, *, eof: bool) -> None:
        """Write to the program's stdin."""
        await self._bytes("POST", "/v1/input", params={"eof": "1"} if eof else None, data=data)

    async def send_tool_results(self, lines: bytes) -> None:
        """Write to the program's tool channel."""
        await self._bytes("POST", "/v1/tool-results", data=lines)

    async def cancel(self) -> None:
        """Kill all that runs, or would."""
        await self._bytes("POST", "/v1/cancel")

    async def changes(self) -> dict[str, Any]:
        """Return the listings of the working directory before and after the run."""
        listings: dict[str, Any] = json.loads(await self._bytes("GET", "/v1/changes"))
        return listings

    async def read(self, root: str, name: str, bytes_max: int) -> AsyncGenerator[bytes, None]:
        """Read a regular file of at most `bytes_max`."""
        params = {"root": root, "name": name, "bytes_max": str(bytes_max)}
        async with self._asked("GET", "/v1/file", params=params) as response:
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                yield chunk

    async def read_all(self, root: str, name: str, bytes_max: int) -> bytes | None:
        """Read a whole file; None if there is no such file, or it is larger."""
        try:
            async with aclosing(self.read(root, name, bytes_max)) as chunks:
                return b"".join([chunk async for chunk in chunks])
        except SidecarRefused as refused:
            if refused.status in (404, 413):
                return None
            raise

    async def _bytes(self, method: str, path: str, **more: Any) -> bytes:
        async with self._asked(method, path, **more) as response:
            return await response.read()

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, *, answer_s: float | None = _ANSWER_S, **more: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; the block gets a good answer's beginning. `answer_s` bounds each silence."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=answer_s)
        try:
            async with self._session.request(
                method, self._url + path, headers=self._headers, timeout=timeout, **more
            ) as response:
                if response.status >= 400:
                    raise _refusal(response.status, await response.read())
                yield response
        except (aiohttp.ClientError, asyncio.IncompleteReadError, TimeoutError, OSError) as error:
            raise SidecarLost(f"its sidecar does not answer ({error or type(error).__name__})") from error


async def _read_frame(
    content: aiohttp.StreamReader, before: int, silence_s_max: float
) -> tuple[RunFrame, int]:
    """Read one frame; returns it and its number, which must follow the one before."""
    async with asyncio.timeout(silence_s_max):
        kind, number, length = _HEAD.unpack(await content.readexactly(_HEAD.size))
        if number != before + 1 or length > _PAYLOAD_BYTES_MAX:
            raise SidecarLost("its sidecar sent what is no frame")
        payload = await content.readexactly(length)
    return RunFrame(kind.decode("latin-1"), payload), number


def _refusal(status: int, body: bytes) -> SidecarRefused:
    try:
        said = json.loads(body)
        return SidecarRefused(status, str(said["error"]), str(said["message"]))
    except (ValueError, KeyError, TypeError):
        return SidecarRefused(status, "refused", f"its sidecar answered {status}")
