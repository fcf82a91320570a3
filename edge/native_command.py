"""From the body of `POST /executions` to a command that keeps all rules."""

import re

import msgspec
from starlette.requests import Request

from edge.refusals import refuse, violated
from schemas.commands import RunCode
from schemas.ids import EXECUTION_ID_RULE, ExecutionId, TenantId, is_execution_id, new_execution_id
from schemas.languages import find_language
from schemas.validate import Bounds, find_violation
from schemas.wire import decode_run_code

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def native_command(request: Request, body: bytes, tenant: TenantId, bounds: Bounds) -> RunCode:
    """Return the command in `body`, with an id, for `tenant`. Raises `Refusal` or `WireFault`.

    A `tenant` in the body does not count, the key decides; nor does `reply_to`, which would let a client
    of HTTP write to any stream, nor `session_unlisted`, which would let him have any number of sessions.
    """
    asked = decode_run_code(body)
    command = msgspec.structs.replace(
        asked,
        id=_id(request, asked),
        tenant=tenant,
        reply_to=None,
        session_unlisted=False,
        trace=trace_of(request) or asked.trace,
    )
    return checked(command, bounds)


def checked(command: RunCode, bounds: Bounds) -> RunCode:
    """Return `command` with its language spelled as on the wire. Raises `Refusal` if it breaks a rule."""
    if violation := find_violation(command, bounds):
        raise violated(violation)
    language = find_language(command.language)
    assert language is not None, "a rule of find_violation"
    return msgspec.structs.replace(command, language=language.code)


def trace_of(request: Request) -> dict[str, str]:
    """Return the trace context of the request (W3C Trace Context), empty if it has none."""
    parent = request.headers.get("traceparent", "")
    if not _TRACEPARENT.fullmatch(parent):
        return {}
    state = request.headers.get("tracestate", "")
    return {"traceparent": parent, "tracestate": state} if 0 < len(state) <= 512 else {"traceparent": parent}


def _id(request: Request, asked: RunCode) -> ExecutionId:
    """Return the id: that of the body, the header `Idempotency-Key` (bare or quoted), or a new one."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return asked.id or new_execution_id() if asked.id != "" else ExecutionId("")
    key = key.strip().strip('"')
    if not is_execution_id(key):
        message = f"Idempotency-Key must be {EXECUTION_ID_RULE}."
        raise refuse(422, "invalid_request", message, "Idempotency-Key")
    if asked.id not in (None, key):
        message = "Idempotency-Key and id differ; one of them is enough."
        raise refuse(422, "invalid_request", message, "Idempotency-Key")
    return ExecutionId(key)
