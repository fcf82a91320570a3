"""Results of tool calls on their way to the program that waits: each counts once, whoever sends it again."""

import hashlib
from collections.abc import Iterator, Sequence

from edge.refusals import Refusal, refuse
from infra.errors import RequestRefused
from infra.stores.tool_answers import ToolAnswers
from schemas.commands import ResolveToolCalls, ToolResult
from schemas.events import ToolCall, ToolCallsRequested
from schemas.http import ErrorBody
from schemas.ids import CallId, ExecutionId
from schemas.limits import TOOL_CALLS_MAX, TOOL_RESULT_BYTES_MAX
from schemas.wire import decode_event, encode
from streams.protocol import LoggedEvent, Publisher

_PAGE = 1000
_MESSAGE_BYTES_MAX = 512 * 1024
"""Of several results in one message: a NATS server takes 1 MB unless it is set otherwise."""


class ToolResults:
    """Checks results and sends them on."""

    def __init__(self, publisher: Publisher, answers: ToolAnswers) -> None:
        self._publisher = publisher
        self._answers = answers

    async def send(self, execution_id: ExecutionId, results: Sequence[ToolResult], field: str) -> None:
        """Answer calls of an execution. Raises `Refusal`, naming `field`, for the first rule broken."""
        check_results(results, field)
        asked = {call.id for call in await calls_asked(self._publisher, execution_id)}
        for index, result in enumerate(results):
            if result.call_id not in asked:
                message = f"The program never made the call {result.call_id[:80]!r}."
                raise refuse(400, "unknown_call", message, f"{field}[{index}].call_id")
        digests = {result.call_id: _digest(result) for result in results}
        if other := await self._answers.claim(execution_id, digests):
            message = f"The call {other[0]} was answered before with another result."
            raise refuse(409, "already_answered", message, field)
        await self._publish(execution_id, results)

    async def _publish(self, execution_id: ExecutionId, results: Sequence[ToolResult]) -> None:
        """Send results on, in messages that a broker takes; what it does not take counts as not answered."""
        sent = 0
        try:
            for part in _parts(results):
                await self._publisher.send(ResolveToolCalls(execution_id=execution_id, results=part))
                sent += len(part)
        except RequestRefused:
            await self._answers.release(execution_id, [result.call_id for result in results[sent:]])
            raise


def check_results(results: Sequence[ToolResult], field: str) -> None:
    """Raise `Refusal` for results that could answer no calls at all."""
    if not 0 < len(results) <= TOOL_CALLS_MAX:
        message = f"{field} needs 1 to {TOOL_CALLS_MAX} entries and has {len(results)}."
        body = ErrorBody(error="invalid_request", message=message, field=field, limit=TOOL_CALLS_MAX)
        raise Refusal(422, body)
    seen: set[CallId] = set()
    for index, result in enumerate(results):
        if result.call_id in seen:
            raise refuse(422, "invalid_request", f"{field} has two entries for one call_id.", field)
        seen.add(result.call_id)
        size = len(encode(result))
        if size > TOOL_RESULT_BYTES_MAX:
            message = f"The result is {size} bytes, the limit is {TOOL_RESULT_BYTES_MAX}."
            where = f"{field}[{index}].result"
            body = ErrorBody(error="too_large", message=message, field=where, limit=TOOL_RESULT_BYTES_MAX)
            raise Refusal(413, body)


async def calls_asked(publisher: Publisher, execution_id: ExecutionId) -> list[ToolCall]:
    """Return the calls an execution has made, in order."""
    calls: list[ToolCall] = []
    after = 0
    while batch := await publisher.read(execution_id, after, _PAGE):
        calls += [call for logged in batch for call in calls_in(logged)]
        after = batch[-1].seq
        if len(batch) < _PAGE:
            break
    return calls


def calls_in(logged: LoggedEvent) -> list[ToolCall]:
    """Return the calls that an event tells of."""
    if logged.type != "tool_calls_requested":
        return []
    event = decode_event(logged.data)
    return event.calls if isinstance(event, ToolCallsRequested) else []


def _parts(results: Sequence[ToolResult]) -> Iterator[list[ToolResult]]:
    """Yield results in their order, as many together as are not large."""
    part: list[ToolResult] = []
    size = 0
    for result in results:
        own = len(encode(result))
        if part and size + own > _MESSAGE_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(result)
        size += own
    yield part


def _digest(result: ToolResult) -> str:
    return hashlib.sha256(encode(result)).hexdigest()
