"""What `millrace serve` prints once it can take work: where, how well isolated, what to paste."""

import asyncio
import ssl
import sys
from contextlib import closing, suppress
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from infra.connect import nats_config, redis_config
from infra.errors import Unavailable
from infra.process.broker import EmbeddedBroker
from infra.redis import build_redis
from infra.settings import Settings
from infra.settings.service import Auth
from infra.stores.presence import RedisPresence
from infra.version import VERSION
from schemas.presence import HandlerPresence

_PATIENCE_S = 60.0
_POLL_S = 0.05
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound
_BODY = '{"lang": "py", "code": "print(6 * 7)"}'


def greet(
    settings: Settings, address: tuple[str, int], broker: EmbeddedBroker | None, since: datetime
) -> int:
    """Wait until there is an edge, and a handler that started after `since`; then say so on stdout.

    Return the exit status. Handlers of a dead predecessor may still be listed, so `since` matters.
    """
    handlers = asyncio.run(_first_handlers(settings, since))
    if not handlers or not _edge_answers(settings, address):
        who = "the edge does not answer" if handlers else "no handler is there"
        sys.stderr.write(
            f"millrace: {who} after {_PATIENCE_S:.0f} s; the log and `millrace doctor` may know why\n"
        )
        return 1
    for name, text in _facts(settings, address, handlers[0], broker).items():
        sys.stdout.write(f"  {name:<9} {text}\n" if name else f"{text}\n")
    sys.stdout.flush()
    return 0


def _edge_answers(settings: Settings, address: tuple[str, int]) -> bool:
    """Ask once: the socket was taken before the edge began, so the question waits for it."""
    host, port = _EVERY_ADDRESS.get(address[0], address[0]), address[1]
    connection = HTTPConnection(host, port, timeout=_PATIENCE_S)
    if settings.enable_https:
        # Our own socket, made a moment ago; its certificate names the outside, not the loopback.
        unverified = ssl._create_unverified_context()  # noqa: S323
        connection = HTTPSConnection(host, port, timeout=_PATIENCE_S, context=unverified)
    with closing(connection), suppress(OSError, HTTPException):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except (ssl.SSLError, ConnectionError):
            # Turned away for want of a certificate that only its clients have: somebody is there.
            return settings.ssl_ca_certs is not None
    return False


async def _first_handlers(settings: Settings, since: datetime) -> list[HandlerPresence]:
    """Return the handlers as soon as there are any."""
    config = redis_config(settings)
    redis = build_redis(config)
    presence = RedisPresence(redis, config)
    handlers: list[HandlerPresence] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            while not handlers:
                await asyncio.sleep(_POLL_S)
                with suppress(Unavailable):
                    handlers = [each for each in await presence.handlers() if each.started_at > since]
    await redis.aclose()
    return handlers


def _facts(
    settings: Settings, address: tuple[str, int], handler: HandlerPresence, broker: EmbeddedBroker | None
) -> dict[str, str]:
    url = _url(settings, address)
    default = settings.api_key == Auth.api_key
    key = settings.api_key.reveal() if default else "$API_KEY"
    header = f"{settings.api_key_header}: {key}"
    json_type = "-H 'content-type: application/json'"
    docs = {"docs": f"{url}/docs, {url}/docs/streams"} if settings.enable_docs else {}
    return {
        "": f"Millrace {VERSION} listens on {url}",
        "sandbox": _sandbox(handler),
        "key": f"{key} (everybody knows it: good for this machine only)" if default else "the one in API_KEY",
        "data": str(settings.millrace_data_dir),
        "broker": _broker(settings, broker),
        # Double quotes let the shell fill in a key that is not printed.
        "try": f"curl -s {url}/exec -H \"{header}\" {json_type} -d '{_BODY}'",
        **docs,
        "stop": "Ctrl-C",
    }


def _broker(settings: Settings, broker: EmbeddedBroker | None) -> str:
    redis = f"its own, on {broker.url}" if broker else redis_config(settings).where()
    if settings.millrace_transport != "nats":
        return redis
    return f"NATS at {nats_config(settings).where()} for messages; Redis for the rest: {redis}"


def _sandbox(handler: HandlerPresence) -> str:
    missing = [language.code for language in handler.languages if not language.available]
    tier = f"tier {handler.tier}" if handler.tier else handler.kind
    lacking = f"; missing: {', '.join(missing)} (see `millrace doctor`)" if missing else ""
    return f"{tier}, {len(handler.languages) - len(missing)} of {len(handler.languages)} languages{lacking}"


def _url(settings: Settings, address: tuple[str, int]) -> str:
    host, port = _EVERY_ADDRESS.get(address[0], address[0]), address[1]
    return f"{'https' if settings.enable_https else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
