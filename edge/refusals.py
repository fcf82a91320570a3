"""Why a request gets no answer but an error, as HTTP tells it: one exception, and the words we use for it.

Errors of the rooms below are translated here and nowhere else, so that no stack trace and no foreign
wording ever reaches a client.
"""

import math
from collections.abc import Mapping

from starlette.exceptions import HTTPException

from infra.errors import MillraceError, RequestRefused, Unavailable
from schemas.http import ErrorBody
from schemas.validate import Violation
from schemas.wire import WireFault
from streams.log_errors import LogGone

_CODES = {404: "not_found", 405: "method_not_allowed"}
_LIMIT_LENGTH_MAX = 200


class Refusal(MillraceError):
    """An answer of status 4xx or 5xx, ready to be sent."""

    def __init__(self, status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body.message)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def refuse(status: int, error: str, message: str, field: str | None = None) -> Refusal:
    """Return a refusal without further headers."""
    return Refusal(status, ErrorBody(error=error, message=message, field=field))


def try_later(
    status: int,
    error: str,
    message: str,
    retry_after_s: float,
    *,
    field: str | None = None,
    limit: int | None = None,
) -> Refusal:
    """Return a refusal that says when to come back: in whole seconds, at least one."""
    seconds = max(1, math.ceil(retry_after_s))
    body = ErrorBody(error=error, message=message, field=field, limit=limit, retry_after_seconds=seconds)
    return Refusal(status, body, {"retry-after": str(seconds)})


def unreadable(fault: WireFault) -> Refusal:
    """Return the refusal of a body: 400 if it is no JSON object at all, 422 if a field of it is wrong."""
    error, status = ("invalid_request", 422) if fault.field else ("invalid_json", 400)
    return refuse(status, error, fault.message, fault.field or None)


def violated(violation: Violation) -> Refusal:
    """Return the refusal of a readable request that breaks a rule."""
    error, status = ("too_large", 413) if violation.too_large else ("invalid_request", 422)
    body = ErrorBody(error=error, message=violation.message, field=violation.field, limit=violation.limit)
    return Refusal(status, body)


def refusal_of(error: Exception) -> Refusal | None:  # noqa: PLR0911 - one for each kind of error
    """Return what a client is told about `error`, or None if it is a fault of ours."""
    if isinstance(error, Refusal):
        return error
    match error:
        case WireFault():
            return unreadable(error)
        case RequestRefused():
            limit = None if error.limit is None else str(error.limit)[:_LIMIT_LENGTH_MAX]
            body = ErrorBody(error="invalid_request", message=error.message, field=error.field, limit=limit)
            return Refusal(422, body)
        case Unavailable():
            return try_later(503, "unavailable", error.message, error.retry_after_s)
        case LogGone():
            return refuse(404, "unknown_execution", "The execution is past retention.", "id")
        case HTTPException():
            code = _CODES.get(error.status_code, "refused")
            return Refusal(error.status_code, ErrorBody(error=code, message=error.detail), error.headers)
        case _:
            return None
