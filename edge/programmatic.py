"""`POST /exec/programmatic`: code that calls tools which the client has, in a dialogue of requests.

The program stays where it is and waits while its client works. Between two requests nothing of it is kept
here: its log tells which calls it made, the token which of them were told, and Redis which are answered.
So any edge goes on with what another began.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from edge.authentication import tenant_of, tenant_of_body
from edge.body import read_body
from edge.compatible import CompatibleRooms
from edge.compatible_command import in_their_words
from edge.config import EdgeConfig
from edge.continuation import Continuation, Continuations, unknown
from edge.file_references import resolve_references
from edge.programmatic_answer import programmatic_answer
from edge.programmatic_command import programmatic_body, programmatic_command
from edge.refusals import Refusal, refuse
from edge.responses import json_response
from edge.sessions import check_owner
from edge.tool_results import ToolResults, calls_in, check_results
from edge.transcript import Transcript
from edge.waiting import Ending, first_ending
from infra.stores.tool_answers import ToolAnswers, TurnTaken
from schemas.commands import CancelExecution, RunCode
from schemas.digest import digest_of
from schemas.events import ToolCall
from schemas.ids import CallId, ExecutionId, TenantId
from schemas.programmatic import Cancelled, CancelRequest, ProgrammaticRun, ToolCallRequired
from schemas.wire import decode_as
from streams.protocol import LoggedEvent

REQUEST_ID = "x-librechat-code-request-id"
_REQUEST_ID_LENGTH_MAX = 128
_LINGER_S = 0.02
"""Calls of background jobs come one by one; so long nothing new must come before they are told."""
_LINGERS_MAX = 10


@dataclass(slots=True)
class _Watched:
    """A run as far as this request has followed it."""

    transcript: Transcript
    answered: set[CallId]
    asked: list[ToolCall] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def open(self) -> list[ToolCall]:
        """The calls that wait for a result."""
        return [call for call in self.asked if call.id not in self.answered]

    def add(self, logged: LoggedEvent) -> None:
        """Take in the next event of the log."""
        self.transcript.add(logged)
        self.asked += calls_in(logged)
        self.changed.set()


class Programmatic:
    """The two routes."""

    def __init__(
        self,
        rooms: CompatibleRooms,
        results: ToolResults,
        answers: ToolAnswers,
        continuations: Continuations,
    ) -> None:
        self._rooms = rooms
        self._results = results
        self._answers = answers
        self._continuations = continuations

    @property
    def _config(self) -> EdgeConfig:
        return self._rooms.config

    async def run(self, request: Request) -> Response:
        """POST /exec/programmatic: 200 once the program has run, to its end or to the next call."""
        body = await read_body(request, self._config.body_timeout_s)
        tenant = tenant_of_body(request, body, self._config.keys, told=self._config.security_logs)
        asked = programmatic_body(body)
        if asked.continuation_token is not None:
            return await self._go_on(request, asked, tenant)
        return await self._begin(request, await self._command(request, asked, tenant))

    async def cancel(self, request: Request) -> Response:
        """POST /exec/programmatic/cancel: ends what a request waits for, also if it is still to come."""
        asked = decode_as(await read_body(request, self._config.body_timeout_s), CancelRequest)
        if not 0 < len(asked.request_id) <= _REQUEST_ID_LENGTH_MAX:
            message = f"request_id must be 1 to {_REQUEST_ID_LENGTH_MAX} characters."
            raise refuse(400, "invalid_request", message, "request_id")
        execution_id = await self._answers.cancelled(tenant_of(request), asked.request_id)
        if execution_id is not None:
            await self._end(execution_id, "its client cancelled the request")
        return json_response(Cancelled(request_id=asked.request_id))

    async def _command(self, request: Request, asked: ProgrammaticRun, tenant: TenantId) -> RunCode:
        rooms = self._rooms
        command = programmatic_command(request, asked, tenant, rooms.config, rooms.now())
        if asked.session_id:
            await check_owner(rooms.sessions, rooms.files, tenant, asked.session_id)
        return await resolve_references(rooms.files, command, refused_as=403, anywhere=True)

    async def _begin(self, request: Request, command: RunCode) -> Response:
        assert command.id is not None, "programmatic_command names every command"
        await self._rooms.back_pressure.admit(command.tenant)
        await self._name(request, command.tenant, command.id)
        watched = _Watched(Transcript(self._config.output_bytes_max), set())
        async with self._rooms.publisher.follow(command.id) as batches:
            await self._rooms.publisher.submit(command, digest_of(command))
            ending = await self._watch(request, batches, watched)
        if ending == "client_left" and self._config.when_client_leaves == "cancel":
            await self._end(command.id, "the client went away")  # nobody has a token to go on with
        return await self._told(ending, watched, command.id, command.tenant)

    async def _go_on(self, request: Request, asked: ProgrammaticRun, tenant: TenantId) -> Response:
        continuation = self._continuations.read(asked.continuation_token or "", tenant)
        results = [result.native() for result in asked.tool_results or ()]
        record = await self._rooms.publisher.record(continuation.execution_id)
        if record is None or record.tenant != tenant:
            raise unknown()
        with _in_their_words():
            check_results(results, "tool_results")
            _check_complete(continuation, {result.call_id for result in results})
        try:
            async with self._answers.turn(record.id):
                await self._name(request, tenant, record.id)
                with _in_their_words():
                    await self._results.send(record.id, results, "tool_results")
                answered = await self._answers.answered(record.id)
                watched = _Watched(Transcript(self._config.output_bytes_max), answered)
                async with self._rooms.publisher.follow(record.id) as batches:
                    ending = await self._watch(request, batches, watched)
        except TurnTaken as taken:
            raise refuse(409, "continuation_in_flight", str(taken)) from None
        return await self._told(ending, watched, record.id, tenant)

    async def _watch(
        self, request: Request, batches: AsyncIterator[list[LoggedEvent]], watched: _Watched
    ) -> Ending:
        """Follow until the program has ended or waits for calls, no more of which come."""
        work = _until_it_stops(batches, watched)
        return await first_ending(work, request.receive, self._config.sync_wait_s_max, None)

    async def _told(
        self, ending: Ending, watched: _Watched, execution_id: ExecutionId, tenant: TenantId
    ) -> Response:
        if ending == "client_left":
            return Response(status_code=204)
        if ending == "timed_out":
            await self._end(execution_id, "nobody waits for it any more")
            message = "The execution did not end in the time a request is waited for."
            raise refuse(504, "execution_timeout", message)
        record = await self._rooms.publisher.record(execution_id)
        session_id = (record.session_id if record else None) or str(execution_id)
        if watched.transcript.finished:
            return json_response(programmatic_answer(watched.transcript, session_id))
        calls = watched.open
        token = self._continuations.write(Continuation(execution_id, tenant, [call.id for call in calls]))
        return json_response(
            ToolCallRequired(
                continuation_token=token,
                session_id=session_id,
                tool_calls=calls,
                partial_stdout=watched.transcript.stdout,
                partial_stderr=watched.transcript.stderr,
            )
        )

    async def _name(self, request: Request, tenant: TenantId, execution_id: ExecutionId) -> None:
        """Let a cancel find what this request waits for."""
        name = request.headers.get(REQUEST_ID, "")[:_REQUEST_ID_LENGTH_MAX]
        if name and not await self._answers.name(tenant, name, execution_id):
            await self._end(execution_id, "its client cancelled the request")
            raise refuse(409, "cancelled", "The request was cancelled before it came.")

    async def _end(self, execution_id: ExecutionId, reason: str) -> None:
        await self._rooms.publisher.send(CancelExecution(execution_id=execution_id, reason=reason))


async def _until_it_stops(batches: AsyncIterator[list[LoggedEvent]], watched: _Watched) -> None:
    following = asyncio.create_task(_follow(batches, watched))
    try:
        while not (following.done() or watched.open):
            watched.changed.clear()
            changed = asyncio.create_task(watched.changed.wait())
            await asyncio.wait({following, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        for _ in range(_LINGERS_MAX):
            known = len(watched.asked)
            await asyncio.wait({following}, timeout=_LINGER_S)
            if following.done() or len(watched.asked) == known:
                break
        if following.done():
            following.result()
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({following})


async def _follow(batches: AsyncIterator[list[LoggedEvent]], watched: _Watched) -> None:
    async for batch in batches:
        for logged in batch:
            watched.add(logged)


@contextmanager
def _in_their_words() -> Iterator[None]:
    """Let broken rules be 400 within the block, as clients of this contract expect; a conflict stays one."""
    try:
        yield
    except Refusal as refusal:
        raise refusal if refusal.status == 409 else in_their_words(refusal) from None


def _check_complete(continuation: Continuation, given: set[CallId]) -> None:
    missing = [call for call in continuation.calls if call not in given]
    if missing:
        message = f"tool_results has no result for the call {missing[0]}."
        raise refuse(400, "invalid_request", message, "tool_results")
