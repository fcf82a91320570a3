"""Messages in the words of the NATS protocol: as they are sent, and as they are taken out of what comes."""

from collections.abc import Mapping

LINE_BYTES_MAX = 1024 * 1024
"""What ends no line within so many bytes is no NATS; the longest line names all servers of a cluster."""
_END = b"\r\n"
_VERSION = b"NATS/1.0"


class Message:
    """One message that came. Its headers are read by whoever asks for them."""

    __slots__ = ("_head", "_headers", "data", "reply", "sid", "subject")

    def __init__(self, subject: str, sid: int, reply: str, head: bytes, data: bytes) -> None:
        self.subject = subject
        self.sid = sid
        """Of the subscription it came for."""
        self.reply = reply
        """Where an answer is wanted; empty if none is."""
        self.data = data
        self._head = head
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """By name; what the first line says beside the version as `Status` and `Description`."""
        if self._headers is None:
            self._headers = _headers_of(self._head) if self._head else {}
        return self._headers


class Reader:
    """Takes what is complete out of the bytes as they come."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[Message | bytes]:
        """Return messages, and the lines between them. Raises `ValueError` for what is no NATS."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
        found: list[Message | bytes] = []
        at, self._needed = 0, 0
        while (end := data.find(_END, at)) >= 0:
            line = data[at:end]
            at_once = 0
            if line.startswith((b"MSG ", b"HMSG ")):
                words = line.split()
                at_once = int(words[-1]) + len(_END)
                if len(data) < end + len(_END) + at_once:
                    self._needed = end + len(_END) + at_once - at
                    break
                found.append(_message(words, data[end + len(_END) : end + at_once]))
            else:
                found.append(line)
            at = end + len(_END) + at_once
        self._rest = bytearray(data[at:])
        if not self._needed and len(self._rest) > LINE_BYTES_MAX:
            raise ValueError("a line without an end")
        return found


def publication(subject: str, data: bytes, headers: Mapping[str, str] | None, reply: str) -> bytes:
    """Return the command that publishes a message."""
    where = f"{subject} {reply}" if reply else subject
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (where.encode(), len(data), data)
    lines = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in headers.items())
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (where.encode(), len(head), len(head) + len(data), head, data)


def _one_line(value: str) -> str:
    if "\n" in value or "\r" in value:
        return value.replace("\r", " ").replace("\n", " ").strip()
    return value


def _message(words: list[bytes], body: bytes) -> Message:
    head_bytes = int(words[-2]) if words[0] == b"HMSG" else 0
    has_reply = len(words) == (6 if head_bytes else 5)
    reply = words[3].decode() if has_reply else ""
    return Message(words[1].decode(), int(words[2]), reply, body[:head_bytes], body[head_bytes:])


def _headers_of(head: bytes) -> dict[str, str]:
    first, *lines = head.decode(errors="replace").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    status, _, description = first[len(_VERSION) :].strip().partition(" ")
    if status:
        headers["Status"] = status
    if description:
        headers["Description"] = description
    return headers
