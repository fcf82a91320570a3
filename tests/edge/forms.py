"""Multipart bodies, byte by byte as clients write them."""

from typing import Any


def form(*pieces: tuple[str, str | None, bytes], end: bytes = b"--B--\r\n") -> dict[str, Any]:
    """A multipart body as clients write it: (field, file name or None, content)."""
    body = b""
    for field, filename, content in pieces:
        named = "" if filename is None else f'; filename="{filename}"'
        head = f'--B\r\nContent-Disposition: form-data; name="{field}"{named}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return {"content": body + end, "headers": {"content-type": "multipart/form-data; boundary=B"}}
