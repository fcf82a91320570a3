"""The ring that turns every exception into a JSON error, so that no stack trace reaches a client."""

import asyncio

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.answer import answer_to
from edge.refusals import refusal_of, refuse, try_later
from edge.responses import error_response

log = structlog.get_logger(__name__)

_STOPPING = try_later(503, "closing", "This edge is being stopped; ask another one, or again.", 1)


class Errors:
    """Answers for whatever went wrong further in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; an exception becomes the answer if none has begun."""
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # The server is told to stop and waits no longer. What came of it, asking again tells.
            if answer_to(scope).status:
                raise
            await error_response(_STOPPING)(scope, receive, send)
        except Exception as error:
            if answer_to(scope).status:
                # Too late for a status. Returning an unfinished answer makes the server cut the
                # connection, which tells the client that what it has is not all.
                log.exception("answer_broken_off", path=scope["path"])
                return
            await _answer(error, scope["path"])(scope, receive, send)


def _answer(error: Exception, path: str) -> Response:
    refusal = refusal_of(error)
    if refusal is None:
        log.error("internal_error", path=path, exc_info=error)
        refusal = refuse(500, "internal_error", "Something went wrong here; the log says what.")
    return error_response(refusal)
