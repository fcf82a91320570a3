"""Structs, and arrays of them, as JSON answers."""

from collections.abc import Mapping, Sequence

import msgspec
from starlette.responses import Response

from edge.refusals import Refusal
from schemas import wire


def json_response(
    thing: msgspec.Struct | Sequence[msgspec.Struct],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return `thing` as an answer that no cache keeps."""
    return Response(
        wire.encode(thing), status, {"cache-control": "no-store", **(headers or {})}, "application/json"
    )


def error_response(refusal: Refusal) -> Response:
    """Return the answer that `refusal` describes."""
    return json_response(refusal.body, refusal.status, refusal.headers)
