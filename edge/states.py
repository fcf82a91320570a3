"""Saved Python state over HTTP: opaque bytes under an ETag. Another owner's is as unknown as none."""

import re
from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from edge.authentication import tenant_of
from edge.body import body_chunks
from edge.config import EdgeConfig
from edge.http_dates import http_date
from edge.refusals import Refusal, refuse
from edge.responses import json_response
from edge.sessions import granted
from infra.stores.saved_state import State, StateChanged, StateRecord
from infra.stores.sessions import Sessions
from infra.stores.state import ANY, NONE, StateStore, in_chunks
from schemas.http import StateView
from schemas.ids import SessionId, TenantId, is_opaque_id

_ENTITY_TAG = re.compile(r'(W/)?"([^"]*)"')


class StateRoutes:
    """The routes below `/state`."""

    def __init__(self, config: EdgeConfig, states: StateStore, sessions: Sessions) -> None:
        self._config = config
        self._states = states
        self._sessions = sessions

    async def show(self, request: Request) -> Response:
        """GET and HEAD /state/{session}: the bytes; 304 if the client has them, 412 if it wants others."""
        if request.method == "HEAD":
            record = _known(await self._states.find(*_place(request)))
            refused = _precondition(request, record)
            return refused or Response(headers=_headers(record))
        state = await self._read(request)
        return _precondition(request, state.record) or StreamingResponse(
            in_chunks(state.data), headers=_headers(state.record)
        )

    async def info(self, request: Request) -> Response:
        """GET /state/{session}/info: what is known of it; looking is no use of it."""
        return _answer(_known(await self._states.find(*_place(request))))

    async def replace(self, request: Request) -> Response:
        """PUT /state/{session}: 200 once it is stored; 412 if another is there than the request expects."""
        owner, session_id = _place(request)
        expected = await self._expected(request)
        data = b"".join([chunk async for chunk in body_chunks(request, self._config.body_timeout_s)])
        if not data:
            raise refuse(422, "invalid_request", "The body is empty.", "body")
        await granted(self._sessions.use(owner, session_id))
        try:
            return _answer(await self._states.save(owner, session_id, data, expected))
        except StateChanged:
            _changed("If-Match")

    async def delete(self, request: Request) -> Response:
        """DELETE /state/{session}: 204, wherever it was; the session itself lives on."""
        await self._expected(request)
        if not await self._states.delete(*_place(request)):
            raise _unknown()
        return Response(status_code=204)

    async def _read(self, request: Request) -> State:
        state = await self._states.read(*_place(request))
        if state is None:
            raise _unknown()
        return state

    async def _expected(self, request: Request) -> str:
        """Return the ETag that is to be replaced, as `StateStore.save` takes it. Raises `Refusal`."""
        if request.headers.get("if-none-match", "").strip() == "*":
            return NONE
        wanted = request.headers.get("if-match")
        if wanted is None:
            return ANY
        record = await self._states.find(*_place(request))
        if record is None or not _matches(wanted, record.etag, strongly=True):
            _changed("If-Match")
        return record.etag


def _place(request: Request) -> tuple[TenantId, SessionId]:
    session_id = SessionId(request.path_params["session"])
    if not is_opaque_id(session_id):
        raise _unknown()
    return tenant_of(request), session_id


def _known(record: StateRecord | None) -> StateRecord:
    if record is None:
        raise _unknown()
    return record


def _unknown() -> Refusal:
    return refuse(404, "unknown_state", "There is no saved state of this session, or no longer.", "session")


def _changed(field: str) -> NoReturn:
    raise refuse(412, "state_changed", "Another state is there than the one expected.", field)


def _precondition(request: Request, record: StateRecord) -> Response | None:
    """Return 304 where the client has the state already (RFC 9110, section 13). Raises `Refusal` (412)."""
    wanted = request.headers.get("if-match")
    if wanted is not None and not _matches(wanted, record.etag, strongly=True):
        _changed("If-Match")
    if _matches(request.headers.get("if-none-match", ""), record.etag, strongly=False):
        headers = _headers(record)
        del headers["content-length"]
        return Response(status_code=304, headers=headers)
    return None


def _matches(header: str, etag: str, *, strongly: bool) -> bool:
    if header.strip() == "*":
        return True
    return any(tag == etag and not (weak and strongly) for weak, tag in _ENTITY_TAG.findall(header))


def _headers(record: StateRecord) -> dict[str, str]:
    return {
        "content-type": "application/octet-stream",
        "content-length": str(record.size_bytes),
        "etag": f'"{record.etag}"',
        "last-modified": http_date(record.saved_at),
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
    }


def _answer(record: StateRecord) -> Response:
    view = StateView(
        size_bytes=record.size_bytes,
        tier=record.tier,
        etag=record.etag,
        saved_at=record.saved_at,
        expires_at=record.expires_at,
    )
    return json_response(view, headers={"etag": f'"{record.etag}"'})
