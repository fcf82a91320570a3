"""Millrace's own routes: submit an execution, look at it, follow its events."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from edge.authentication import tenant_of
from edge.back_pressure import BackPressure
from edge.body import read_body
from edge.config import EdgeConfig
from edge.event_stream import EventStream
from edge.file_references import resolve_references
from edge.lookup import find_execution
from edge.native_command import native_command
from edge.preferences import StreamFormat, after_seq, stream_format, wait_s
from edge.refusals import refuse
from edge.responses import json_response
from edge.sessions import granted
from edge.transcript import Transcript, view_of
from edge.waiting import first_ending, read_so_far, take_in
from infra.stores.files import FileStore
from infra.stores.sessions import Sessions
from schemas.commands import RunCode
from schemas.digest import digest_of
from schemas.http import Accepted
from schemas.ids import ExecutionId
from streams.protocol import ExecutionRecord, LoggedEvent, Publisher


class Executions:
    """The reading and submitting side of `/executions`."""

    def __init__(
        self,
        config: EdgeConfig,
        publisher: Publisher,
        back_pressure: BackPressure,
        files: FileStore,
        sessions: Sessions,
        closing: asyncio.Event,
    ) -> None:
        self._config = config
        self._publisher = publisher
        self._back_pressure = back_pressure
        self._files = files
        self._sessions = sessions
        self._closing = closing

    async def submit(self, request: Request) -> ASGIApp:
        """POST /executions: 202, or 200 if waited for and finished, or a stream from the first event."""
        command = await self._command(request)
        form, waited_s = stream_format(request), self._wait_s(request)
        if form is None and waited_s is None:
            return _accepted(request, await self._published(command))
        # Followed before it is published, which saves the transport a round trip.
        async with AsyncExitStack() as following:
            followed = self._publisher.follow(_id(command), until_end=form is None)
            batches = await following.enter_async_context(followed)
            record = await self._published(command)
            if form is not None:
                location = {"location": _path(request, record)}
                return self._stream(batches, following.pop_all(), form, location)
            transcript = await self._waited(request, batches, waited_s or 0)
        applied = {"preference-applied": f"wait={waited_s}"}
        if transcript.finished:
            headers = {"location": _path(request, record), **applied}
            return json_response(view_of(record, transcript), headers=headers)
        return _accepted(request, record, applied)

    async def show(self, request: Request) -> Response:
        """GET /executions/{id}: as far as it has come, or after waiting as `Prefer` asks."""
        record = await find_execution(self._publisher, request)
        waited_s = self._wait_s(request)
        if waited_s and record.status != "finished":
            async with self._publisher.follow(record.id) as batches:
                transcript = await self._waited(request, batches, waited_s)
        else:
            transcript = Transcript(self._config.output_bytes_max)
            await read_so_far(self._publisher, record.id, transcript)
        applied = {} if waited_s is None else {"preference-applied": f"wait={waited_s}"}
        return json_response(view_of(record, transcript), headers=applied)

    async def events(self, request: Request) -> ASGIApp:
        """GET /executions/{id}/events: a stream, from any place, before, during and after the run."""
        after = after_seq(request)
        record = await find_execution(self._publisher, request)
        if record.status == "finished" and after >= record.seq:
            # Nothing will ever follow. 204 is what stops an EventSource from connecting again.
            return Response(status_code=204)
        async with AsyncExitStack() as following:
            batches = await following.enter_async_context(self._publisher.follow(record.id, after))
            return self._stream(batches, following.pop_all(), stream_format(request) or "sse", {})

    async def _command(self, request: Request) -> RunCode:
        body = await read_body(request, self._config.body_timeout_s)
        command = native_command(request, body, tenant_of(request), self._config.bounds)
        command = await resolve_references(self._files, command, refused_as=422)
        await self._back_pressure.admit(command.tenant)
        if command.session_id is not None:
            await granted(self._sessions.use(command.tenant, command.session_id))
        return command

    async def _published(self, command: RunCode) -> ExecutionRecord:
        submission = await self._publisher.submit(command, digest_of(command))
        if submission.result == "conflict":
            raise refuse(409, "id_taken", "This id was used before, for another request.", "id")
        return submission.record

    async def _waited(
        self, request: Request, batches: AsyncIterator[list[LoggedEvent]], timeout_s: int
    ) -> Transcript:
        """Return what there is to tell after at most `timeout_s`."""
        transcript = Transcript(self._config.output_bytes_max)
        await first_ending(take_in(batches, transcript), request.receive, timeout_s, self._closing)
        return transcript

    def _wait_s(self, request: Request) -> int | None:
        return wait_s(request, int(self._config.sync_wait_s_max))

    def _stream(
        self,
        batches: AsyncIterator[list[LoggedEvent]],
        following: AsyncExitStack,
        form: StreamFormat,
        headers: dict[str, str],
    ) -> EventStream:
        return EventStream(
            batches,
            following,
            form=form,
            comment_every_s=self._config.comment_every_s,
            closing=self._closing,
            headers=headers,
        )


def _id(command: RunCode) -> ExecutionId:
    assert command.id is not None, "native_command names every command"
    return command.id


def _accepted(
    request: Request, record: ExecutionRecord, headers: Mapping[str, str] | None = None
) -> Response:
    path = _path(request, record)
    links = {"self": path, "events": f"{path}/events", "input": f"{path}/input"}
    return json_response(
        Accepted(id=record.id, status=record.status, links=links), 202, {"location": path, **(headers or {})}
    )


def _path(request: Request, record: ExecutionRecord) -> str:
    return f"{request.state.prefix}/executions/{record.id}"
