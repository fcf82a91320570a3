"""Turning the bytes of a pipe into `data` of output events without splitting a character."""

import base64
from typing import Literal

from msgspec import UNSET, UnsetType

Encoding = Literal["base64"] | UnsetType


def encode_output(data: bytes) -> tuple[str, Encoding]:
    """Return `data` as text, or as base64 with its encoding named where it is no UTF-8."""
    try:
        return data.decode(), UNSET
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"


def whole_characters(data: bytes | bytearray) -> int:
    """Return how many leading bytes of `data` end on a character's border.

    Only a truncated but so far valid UTF-8 sequence at the end (at most three bytes, RFC 3629) is
    held back; bytes that can never become UTF-8 are not.
    """
    for back in range(1, min(3, len(data)) + 1):
        lead = data[-back]
        if lead & 0xC0 == 0x80:
            continue
        wanted = 2 if lead & 0xE0 == 0xC0 else 3 if lead & 0xF0 == 0xE0 else 4 if lead & 0xF8 == 0xF0 else 1
        return len(data) - back if wanted > back else len(data)
    return len(data)
