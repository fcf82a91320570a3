"""Finding the API key in a request, in every form that clients are known to send it."""

import base64
import binascii
from collections.abc import Iterator

from starlette.types import Scope

from schemas.compatible import BodyKeys
from schemas.wire import WireFault, decode_as


def header_keys(scope: Scope, key_header: str) -> Iterator[bytes]:
    """Yield every key the request's headers may carry: our own header, Bearer and Basic."""
    ours = key_header.lower().encode("latin-1", "replace")
    for name, value in scope["headers"]:
        if name.lower() == ours:
            yield value.strip()
        elif name.lower() == b"authorization":
            yield from _authorization(value.strip())


def body_keys(body: bytes) -> Iterator[bytes]:
    """Yield every key among the fields of a JSON body; none if the body cannot be read."""
    try:
        found = decode_as(body, BodyKeys)
    except WireFault:
        return
    for value in (found.long_name, found.camel_case, found.snake_case):
        if isinstance(value, str) and value:
            yield value.encode()


def _authorization(value: bytes) -> Iterator[bytes]:
    scheme, _, credentials = value.partition(b" ")
    credentials = credentials.strip()
    if scheme.lower() == b"bearer" and credentials:
        yield credentials
    elif scheme.lower() == b"basic":
        yield from _basic(credentials)


def _basic(credentials: bytes) -> Iterator[bytes]:
    """The key is the user name, or the password where that is empty.

    RFC 7617 wants a colon; some clients put a key from a URL into Basic without one.
    """
    try:
        decoded = base64.b64decode(credentials + b"=" * (-len(credentials) % 4))
    except binascii.Error:
        return
    user, _, password = decoded.partition(b":")
    if user or password:
        yield user or password
