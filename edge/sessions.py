"""Native sessions over HTTP. Another owner's is answered in the same words as one that never was."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from edge.authentication import tenant_of
from edge.refusals import Refusal, refuse
from edge.responses import json_response
from infra.stores.files import FileStore
from infra.stores.sessions import Session, Sessions, TooManySessions, UnknownSession
from schemas.commands import EndSession
from schemas.http import ErrorBody, SessionsView, SessionView
from schemas.ids import SessionId, TenantId, is_opaque_id
from streams.protocol import Publisher

T = TypeVar("T")

PAGE = 50
PAGE_MAX = 500
OFFSET_MAX = 1_000_000


class SessionRoutes:
    """The routes below `/sessions`."""

    def __init__(self, publisher: Publisher, sessions: Sessions) -> None:
        self._publisher = publisher
        self._sessions = sessions

    async def open(self, request: Request) -> Response:
        """POST /sessions: 201 with a new session; 409 with the limit if there are too many."""
        session = await granted(self._sessions.open(tenant_of(request)))
        location = f"{request.state.prefix}/sessions/{session.id}"
        return json_response(_view(session), 201, {"location": location})

    async def listing(self, request: Request) -> Response:
        """GET /sessions?limit=&offset=: a page, the last used first."""
        limit = _number(request, "limit", PAGE, 1, PAGE_MAX)
        offset = _number(request, "offset", 0, 0, OFFSET_MAX)
        total, page = await self._sessions.listing(tenant_of(request), offset, limit)
        after = offset + len(page)
        views = [_view(session) for session in page]
        next_offset = after if page and after < total else None
        return json_response(SessionsView(sessions=views, total=total, next_offset=next_offset))

    async def show(self, request: Request) -> Response:
        """GET /sessions/{id}: looking is no use of it."""
        return json_response(_view(await self._find(request)))

    async def end(self, request: Request) -> Response:
        """DELETE /sessions/{id}: 204. It is unknown at once; handlers forget its files and its state."""
        session, tenant = await self._find(request), tenant_of(request)
        await self._sessions.end(tenant, session.id)
        await self._publisher.send(EndSession(session_id=session.id, tenant=tenant))
        return Response(status_code=204)

    async def _find(self, request: Request) -> Session:
        session_id = SessionId(request.path_params["id"])
        known = (
            await self._sessions.find(tenant_of(request), session_id) if is_opaque_id(session_id) else None
        )
        if known is None:
            raise _unknown()
        return known


async def check_owner(sessions: Sessions, files: FileStore, tenant: TenantId, session_id: str) -> None:
    """Raise `Refusal` (403) for a session that belongs to another owner; one that nobody owns is fine."""
    if not is_opaque_id(session_id):
        return
    about = SessionId(session_id)
    owners = await asyncio.gather(sessions.owner_of(about), files.records.owner_of(about))
    if set(owners) - {None, tenant}:
        raise _unknown(403, "unauthorized_session")


async def granted(asked: Awaitable[T]) -> T:
    """Return what was asked of the sessions; what they refuse becomes a `Refusal`."""
    try:
        return await asked
    except UnknownSession:
        raise _unknown() from None
    except TooManySessions as full:
        error = "too_many_sessions"
        body = ErrorBody(error=error, message=full.message, field="session_id", limit=full.sessions_max)
        raise Refusal(409, body) from None


def _unknown(status: int = 404, error: str = "unknown_session") -> Refusal:
    return refuse(status, error, "There is no session of yours with this id, or no longer.", "session_id")


def _view(session: Session) -> SessionView:
    return SessionView(
        id=session.id,
        created_at=session.opened_at,
        last_used_at=session.used_at,
        expires_at=session.expires_at,
    )


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
        raise refuse(422, "invalid_request", f"{name} must be a number from {least} to {most}.", name)
    return int(text)
