"""What a client says about the answer it wants: `Prefer`, `Accept`, and where to read on."""

import re
from typing import Literal

from starlette.requests import Request

from edge.refusals import refuse

StreamFormat = Literal["sse", "ndjson"]

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)
_SEQ_MAX = 2**53 - 1
"""Largest whole number that every JSON reader keeps exactly."""


def wait_s(request: Request, most: int) -> int | None:
    """Return the seconds of `Prefer: wait=N`, at most `most`; None if not asked.

    A preference that cannot be read is ignored, as RFC 7240 section 2 wants it.
    """
    found = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(int(found[1]), most) if found else None


def stream_format(request: Request) -> StreamFormat | None:
    """Return the kind of stream that `Accept` names, or None if it names none."""
    accept = request.headers.get("accept", "").lower()
    if "text/event-stream" in accept:
        return "sse"
    return "ndjson" if "application/x-ndjson" in accept else None


def after_seq(request: Request) -> int:
    """Return the seq to read on from: `Last-Event-ID`, which a reconnecting reader sends, or `?after=`.

    Raises `Refusal` for anything but a whole number from 0.
    """
    for field, text in (
        ("Last-Event-ID", request.headers.get("last-event-id")),
        ("after", request.query_params.get("after")),
    ):
        if text is not None and text != "":
            return _seq(field, text)
    return 0


def _seq(field: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= _SEQ_MAX:
        return int(text)
    raise refuse(422, "invalid_request", f"{field} must be a whole number from 0 to {_SEQ_MAX}.", field)
