"""The digest of a request's body: what makes two requests under one id the same request."""

import hashlib

import msgspec

from schemas.commands import RunCode

_canonical = msgspec.json.Encoder(order="deterministic").encode


def digest_of(command: RunCode) -> str:
    """Return the SHA-256, in hex, of what `command` asks for.

    The id it was published under, where the answer goes and its trace context are not part of what is asked.
    """
    asked = msgspec.structs.replace(command, id=None, reply_to=None, trace={})
    return hashlib.sha256(_canonical(asked)).hexdigest()
