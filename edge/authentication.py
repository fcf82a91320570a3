"""Who asks: the ring that lets nobody further in without a tenant."""

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.config import EdgeConfig
from edge.credentials import body_keys, header_keys
from edge.keys import DEFAULT_TENANT, Keyring
from edge.pages import ASSETS, HTTP_PAGE, STREAMS_PAGE
from edge.refusals import Refusal, refuse
from schemas.http import ErrorBody
from schemas.ids import TenantId

log = structlog.get_logger("edge.security")

_DOCUMENTS = {page_path for page in (HTTP_PAGE, STREAMS_PAGE) for page_path in (page.path, page.document)}
OPEN_PATHS = frozenset({"/health", "/health/ready", "/metrics", *_DOCUMENTS})
KEY_IN_BODY_PATHS = frozenset({"/exec", "/exec/programmatic"})
"""Routes of the compatible contract whose older clients put the key into the body; they look for it there."""


class Authentication:
    """Finds the tenant of a request; without one only open paths are passed on."""

    def __init__(self, app: ASGIApp, config: EdgeConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its tenant. Raises `Refusal`."""
        tenant = self._tenant(scope)
        scope["state"]["tenant"] = tenant
        if tenant is None and not is_open(scope["path"]):
            raise unauthorized(scope, told=self._config.security_logs)
        await self._app(scope, receive, send)

    def _tenant(self, scope: Scope) -> TenantId | None:
        presented = list(header_keys(scope, self._config.key_header))
        if not presented:
            return DEFAULT_TENANT if self._is_trusted(scope) else None
        found = {tenant for credential in presented if (tenant := self._owner_of(credential))}
        if len(found) > 1:
            message = "Ambiguous authentication headers: they name different owners."
            raise refuse(400, "ambiguous_authentication", message)
        return found.pop() if found else None

    def _owner_of(self, credential: bytes) -> TenantId | None:
        """Return whom a key, or else a token, stands for."""
        users = self._config.users
        return self._config.keys.tenant_of([credential]) or (users.tenant_of(credential) if users else None)

    def _is_trusted(self, scope: Scope) -> bool:
        """Whether the client may come in without a key.

        A browser names the page that made it ask (`Origin`). Any page can make a browser inside a
        trusted network ask, so only pages the operator allowed are let in this way.
        """
        if not self._config.trusted_network:
            return False
        allowed = self._config.cors_origins
        origins = [str(value, "latin-1") for name, value in scope["headers"] if name == b"origin"]
        return "*" in allowed or all(origin in allowed for origin in origins)


def is_open(path: str) -> bool:
    """Whether a request may go on without a tenant."""
    return path in OPEN_PATHS | KEY_IN_BODY_PATHS or path.startswith(ASSETS)


def tenant_of(request: Request) -> TenantId:
    """Return who asks, on a path that nobody reaches without a tenant."""
    tenant = request.state.tenant
    assert tenant is not None, "Authentication passed on a request without a tenant"
    return TenantId(tenant)


def tenant_of_body(request: Request, body: bytes, keys: Keyring, *, told: bool) -> TenantId:
    """Return who asks, by the headers or else by a key in `body`. Raises `Refusal`."""
    tenant = request.state.tenant or keys.tenant_of(body_keys(body))
    if tenant is None:
        raise unauthorized(request.scope, told=told)
    request.state.tenant = tenant
    return TenantId(tenant)


def unauthorized(scope: Scope, *, told: bool) -> Refusal:
    """Return the refusal of a request whose key is missing or wrong; which of both is not said."""
    if told:
        client = scope.get("client")
        log.warning("unauthorized", path=scope["path"], client=client[0] if client else None)
    message = "The API key is missing or wrong."
    return Refusal(401, ErrorBody(error="unauthorized", message=message), {"www-authenticate": "Bearer"})
