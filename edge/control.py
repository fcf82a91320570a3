"""What can be said to an execution that has not finished: cancel, input, tool results."""

import base64
import binascii

from starlette.requests import Request
from starlette.responses import Response

from edge.body import read_body
from edge.config import EdgeConfig
from edge.lookup import find_unfinished
from edge.refusals import Refusal, refuse
from edge.responses import json_response
from edge.tool_results import ToolResults
from schemas.commands import CancelExecution, ControlCommand, SendInput
from schemas.http import Accepted, ErrorBody, InputBody, ToolResultsBody
from schemas.wire import decode_as
from streams.protocol import ExecutionRecord, Publisher


class Control:
    """The writing side of `/executions/{id}`. Each answer means: told, not: done."""

    def __init__(self, config: EdgeConfig, publisher: Publisher, results: ToolResults) -> None:
        self._config = config
        self._publisher = publisher
        self._results = results

    async def cancel(self, request: Request) -> Response:
        """DELETE /executions/{id}: 202; 409 with the outcome once finished."""
        record = await find_unfinished(self._publisher, request)
        return await self._tell(request, record, CancelExecution(execution_id=record.id))

    async def send_input(self, request: Request) -> Response:
        """POST /executions/{id}/input: 202; 409 once finished."""
        record = await find_unfinished(self._publisher, request)
        body = decode_as(await read_body(request, self._config.body_timeout_s), InputBody)
        _check_input(body, self._config.bounds.stdin_bytes_max)
        command = SendInput(execution_id=record.id, data=body.data, encoding=body.encoding, eof=body.eof)
        return await self._tell(request, record, command)

    async def resolve_tool_calls(self, request: Request) -> Response:
        """POST /executions/{id}/tool-results: 202, also to the same results again; 409 once finished."""
        record = await find_unfinished(self._publisher, request)
        body = decode_as(await read_body(request, self._config.body_timeout_s), ToolResultsBody)
        await self._results.send(record.id, body.results, "results")
        return _told(request, record)

    async def _tell(self, request: Request, record: ExecutionRecord, command: ControlCommand) -> Response:
        await self._publisher.send(command)
        return _told(request, record)


def _told(request: Request, record: ExecutionRecord) -> Response:
    path = f"{request.state.prefix}/executions/{record.id}"
    links = {"self": path, "events": f"{path}/events"}
    return json_response(Accepted(id=record.id, status=record.status, links=links), 202)


def _check_input(body: InputBody, bytes_max: int) -> None:
    if not body.data and not body.eof:
        raise refuse(422, "invalid_request", "Input needs data, or eof to close it.", "data")
    try:
        data = body.data.encode()
        size = len(base64.b64decode(data, validate=True)) if body.encoding else len(data)
    except binascii.Error:
        raise refuse(422, "invalid_request", "data is not valid base64.", "data") from None
    if size > bytes_max:
        message = f"data is {size} bytes, the limit is {bytes_max}."
        raise Refusal(413, ErrorBody(error="too_large", message=message, field="data", limit=bytes_max))
