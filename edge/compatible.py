"""`POST /exec` of the compatible contract: one request, one run, one answer when it has ended."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edge.authentication import tenant_of_body
from edge.back_pressure import BackPressure
from edge.body import read_body
from edge.compatible_answer import compatible_answer
from edge.compatible_command import CompatibleCommand, compatible_command
from edge.config import EdgeConfig
from edge.file_references import resolve_references
from edge.refusals import refuse
from edge.responses import json_response
from edge.sessions import check_owner
from edge.transcript import Transcript
from edge.waiting import first_ending, take_in
from infra.stores.files import FileStore
from infra.stores.sessions import Sessions
from schemas.commands import CancelExecution, RunCode
from schemas.digest import digest_of
from schemas.ids import ExecutionId, SessionId, is_opaque_id
from streams.protocol import Publisher


@dataclass(frozen=True, slots=True)
class CompatibleRooms:
    """What the compatible routes that run code have to do with."""

    config: EdgeConfig
    publisher: Publisher
    back_pressure: BackPressure
    files: FileStore
    sessions: Sessions
    now: Callable[[], datetime]


class Compatible:
    """The synchronous route that chat front ends use."""

    def __init__(self, rooms: CompatibleRooms) -> None:
        self._config = rooms.config
        self._publisher = rooms.publisher
        self._back_pressure = rooms.back_pressure
        self._files = rooms.files
        self._sessions = rooms.sessions
        self._now = rooms.now

    async def run(self, request: Request) -> Response:
        """POST /exec: 200 for every run that started, whatever became of it."""
        asked = await self._command(request)
        command = asked.command
        assert command.id is not None, "compatible_command names every command"
        await self._back_pressure.admit(command.tenant)
        transcript = Transcript(self._config.output_bytes_max)
        async with self._publisher.follow(command.id, until_end=True) as batches:
            await self._publisher.submit(command, digest_of(command))
            work = take_in(batches, transcript)
            ending = await first_ending(work, request.receive, self._config.sync_wait_s_max, None)
        match ending:
            case "client_left":
                await self._abandon(command.id)
                return Response(status_code=204)
            case "timed_out":
                await self._cancel(command.id, "nobody waits for it any more")
                message = "The execution did not end in the time a request is waited for."
                raise refuse(504, "execution_timeout", message)
        return json_response(compatible_answer(asked, transcript))

    async def _command(self, request: Request) -> CompatibleCommand:
        body = await read_body(request, self._config.body_timeout_s)
        tenant = tenant_of_body(request, body, self._config.keys, told=self._config.security_logs)
        asked = compatible_command(request, body, tenant, self._config, self._now())
        command = asked.command
        if asked.continues:
            await check_owner(self._sessions, self._files, tenant, asked.continues)
            command = _continuing(command, asked.continues)
        command = await resolve_references(self._files, command, refused_as=403, anywhere=True)
        return replace(asked, command=command)

    async def _abandon(self, execution_id: ExecutionId) -> None:
        if self._config.when_client_leaves == "cancel":
            await self._cancel(execution_id, "the client went away")

    async def _cancel(self, execution_id: ExecutionId, reason: str) -> None:
        await self._publisher.send(CancelExecution(execution_id=execution_id, reason=reason))


def _continuing(command: RunCode, session_id: str) -> RunCode:
    """Return a command that goes on with a session; what can be none stays a session of its own."""
    if not is_opaque_id(session_id):
        return command
    return msgspec.structs.replace(command, session_id=SessionId(session_id), session_unlisted=True)
