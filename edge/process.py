"""The composition root of the edge: from the settings to a served socket, until told to stop."""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import structlog
import uvloop
from starlette.types import ASGIApp

from edge.app import Stores, create_app
from edge.dependencies import Dependencies
from edge.from_settings import config_of, refuse_default_key
from edge.health_watch import HealthWatch
from edge.metrics import Metrics
from edge.redirect import create_redirect
from edge.server import Binding, Tls, serve
from infra.connect import file_store, redis_config, session_store, state_store
from infra.redis import build_redis
from infra.settings import Settings
from infra.stores.presence import RedisPresence
from infra.stores.rates import Rates
from infra.stores.tool_answers import ToolAnswers
from infra.tasks import end_tasks
from streams.bodies import build_transport

log = structlog.get_logger(__name__)


def main(settings: Settings, listeners: Sequence[socket.socket] = ()) -> None:
    """Run one edge process until SIGTERM or SIGINT. Raises `Misconfigured`.

    `listeners` are sockets taken before, one for each of `bindings_of`.
    """
    refuse_default_key(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listeners))


def bindings_of(settings: Settings) -> list[Binding]:
    """Return where `settings` want the edge to listen; what only redirects to the first comes second."""
    plain = Binding(settings.api_host, settings.api_port)
    if not settings.enable_https:
        return [plain]
    tls = Tls(settings.https_cert_file, settings.https_key_file, settings.ssl_ca_certs)
    encrypted = Binding(settings.api_host, settings.https_port, tls=tls)
    return [encrypted, plain] if settings.ssl_redirect else [encrypted]


async def _serve(settings: Settings, listeners: Sequence[socket.socket]) -> None:
    closing = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, closing.set)
    name = f"edge-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    transport = build_transport(settings, name)
    redis = build_redis(redis_config(settings))
    files = file_store(settings, redis)
    rates = Rates(redis, redis_config(settings))
    sessions = session_store(settings, redis)
    states = state_store(settings, redis, files.objects)
    answers = ToolAnswers(redis, redis_config(settings), settings.millrace_log_retention_seconds)
    presence = RedisPresence(redis, redis_config(settings))
    stores = Stores(presence, files, rates, sessions, states, answers)
    metrics = Metrics()
    app = create_app(config_of(settings), transport, stores, metrics=metrics, closing=closing, now=_now)
    dependencies = Dependencies(transport, stores.presence, settings.health_check_timeout)
    watch = HealthWatch(dependencies, metrics, settings.health_check_interval)
    beside = [asyncio.create_task(transport.start()), asyncio.create_task(watch.forever())]
    try:
        await _open_doors(settings, app, closing, listeners)
    finally:
        await end_tasks(*beside)
        await transport.close()
        await files.aclose()
        await redis.aclose()
        log.info("edge_stopped")


async def _open_doors(
    settings: Settings, app: ASGIApp, closing: asyncio.Event, listeners: Sequence[socket.socket]
) -> None:
    """Serve wherever the settings say; all doors close together."""
    said = ("edge_ready", "edge_redirects")
    apps = (app, create_redirect(settings.https_port))
    bindings = bindings_of(settings)
    given: Sequence[socket.socket | None] = listeners or [None] * len(bindings)
    grace_s = settings.millrace_shutdown_grace_seconds
    await asyncio.gather(
        *(
            serve(each, binding, closing, grace_s, partial(_say, word), listener)
            for word, each, binding, listener in zip(said, apps, bindings, given, strict=False)
        )
    )


def _say(word: str, url: str) -> None:
    log.info(word, url=url)


def _now() -> datetime:
    return datetime.now(UTC)
