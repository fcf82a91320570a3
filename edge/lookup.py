"""Finding the execution a path names, for the tenant that asks."""

from starlette.requests import Request

from edge.authentication import tenant_of
from edge.refusals import Refusal, refuse
from schemas.events import Finished
from schemas.http import ErrorBody
from schemas.ids import ExecutionId, is_execution_id
from schemas.wire import decode_event
from streams.protocol import ExecutionRecord, Publisher


async def find_execution(publisher: Publisher, request: Request) -> ExecutionRecord:
    """Return the record of the execution in the path.

    Raises `Refusal` (404) if it is unknown, past retention or another tenant's: which is not said.
    """
    execution_id = request.path_params["id"]
    record = await publisher.record(ExecutionId(execution_id)) if is_execution_id(execution_id) else None
    if record is None or record.tenant != tenant_of(request):
        raise refuse(404, "unknown_execution", "There is no execution with this id, or no longer.", "id")
    return record


async def find_unfinished(publisher: Publisher, request: Request) -> ExecutionRecord:
    """Return the record as `find_execution` does. Raises `Refusal` (409, with the outcome) once finished."""
    record = await find_execution(publisher, request)
    if record.status == "finished":
        raise await _finished(publisher, record)
    return record


async def _finished(publisher: Publisher, record: ExecutionRecord) -> Refusal:
    last = await publisher.read(record.id, max(0, record.seq - 1), 1)
    event = decode_event(last[0].data) if last else None
    outcome = event.outcome if isinstance(event, Finished) else None
    message = f"The execution has finished: {outcome or 'its outcome is past retention'}."
    return Refusal(409, ErrorBody(error="already_finished", message=message, outcome=outcome))
