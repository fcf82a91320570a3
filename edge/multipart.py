"""Reading multipart/form-data as it arrives: one part after the other, the bytes of each as a stream.

The parser pushes; whoever stores a file pulls. Between the two lies what one piece off the network
contained, so memory does not grow with the length of a part. Names are taken as the raw UTF-8 that
clients send (RFC 7578, section 5.1).
"""

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from edge.refusals import Refusal, refuse

HEADER_BYTES_MAX = 8 * 1024
_FILENAME = re.compile(rb';\s*filename="(.*?)"\s*(?=$|;\s*(?:name|filename\*)=)', re.DOTALL)
"""Quotes inside a name are not always escaped, so it ends where nothing but another parameter follows."""
_NAME = re.compile(rb';\s*name="([^"]*)"')


@dataclass(frozen=True, slots=True)
class _End:
    """A part is over."""


@dataclass(slots=True)
class Part:
    """One part. `chunks` yields its bytes once; what is left of them is skipped with `drain`."""

    name: str
    filename: str | None
    """As sent; None for a plain field."""
    content_type: str | None
    _form: "MultipartForm" = field(repr=False)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the bytes as they arrive. Raises `Refusal` if the body breaks or ends early."""
        while isinstance(event := await self._form.next_event(inside=True), bytes):
            yield event

    async def drain(self) -> None:
        """Read on to the end of the part and forget it."""
        async for _ in self.chunks():
            pass

    async def text(self, bytes_max: int) -> str:
        """Return a short field whole. Raises `Refusal` if it is too long, or no UTF-8."""
        gathered = b""
        async for chunk in self.chunks():
            gathered += chunk
            if len(gathered) > bytes_max:
                message = f"The field {self.name!r} is longer than {bytes_max} bytes."
                raise refuse(400, "invalid_request", message, self.name)
        return _utf8(gathered, f"The field {self.name!r}")


class MultipartForm:
    """A body on its way in. Raises `Refusal` (400) for whatever is no multipart."""

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._events: deque[Part | bytes | _End] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._inside = False
        self._complete = False
        callbacks: Any = {
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
            "on_part_end": lambda: self._events.append(_End()),
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(
                _boundary(content_type), callbacks, max_header_size=HEADER_BYTES_MAX
            )
        except FormParserError as error:
            raise _broken(error) from None

    async def parts(self) -> AsyncGenerator[Part]:
        """Yield the parts in their order. What is not read of one is skipped before the next."""
        while part := await self.next_event(inside=False):
            if isinstance(part, Part):
                yield part
                if self._inside:
                    await part.drain()

    async def next_event(self, *, inside: bool) -> Part | bytes | _End | None:
        """Return what comes next; None once the form is complete, or the part that is read is over."""
        if inside and not self._inside:
            return None
        while not self._events:
            if self._complete:
                return None
            await self._feed()
        event = self._events.popleft()
        self._inside = not isinstance(event, _End)
        return event

    async def _feed(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise refuse(400, "invalid_multipart", "The body ended before its last boundary.")
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken(error) from None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        headers, self._headers = self._headers, {}
        disposition = headers.get(b"content-disposition", b"")
        found = _FILENAME.search(disposition)
        name = _NAME.search(_without(disposition, found))
        kind = headers.get(b"content-type")
        self._events.append(
            Part(
                name=_utf8(name[1], "The name of a field") if name else "",
                filename=_utf8(found[1].replace(b'\\"', b'"'), "The name of a file") if found else None,
                content_type=kind.decode("latin-1") if kind else None,
                _form=self,
            )
        )

    def _on_end(self) -> None:
        self._complete = True


def _without(text: bytes, found: re.Match[bytes] | None) -> bytes:
    return text[: found.start()] + text[found.end() :] if found else text


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        message = "The body must be multipart/form-data, with a boundary in Content-Type."
        raise refuse(400, "invalid_multipart", message, "Content-Type")
    return boundary


def _utf8(text: bytes, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise refuse(400, "invalid_request", f"{what} is not valid UTF-8.", "file") from None


def _broken(error: FormParserError) -> Refusal:
    return refuse(400, "invalid_multipart", f"The body is no valid multipart: {error}.")
