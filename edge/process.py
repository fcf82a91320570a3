"""The composition root of the edge: from the settings to a served socket, until told to stop."""

import asyncio
import os
import secrets
import signal
import socket
from datetime import UTC, datetime

import structlog
import uvloop

from edge.app import Stores, config_of, create_app, refuse_default_key
from edge.server import Binding, Tls, serve
from infra.connect import file_store, redis_config, session_store, state_store
from infra.errors import Misconfigured
from infra.redis import build_redis
from infra.settings import Settings
from infra.stores.presence import RedisPresence
from infra.stores.rates import Rates
from streams.protocol import DeliveryPolicy
from streams.redis import RedisTransport

log = structlog.get_logger(__name__)


def main(settings: Settings, listener: socket.socket | None = None) -> None:
    """Run one edge process until SIGTERM or SIGINT. Raises `Misconfigured`."""
    refuse_default_key(settings)
    if settings.millrace_transport != "redis":
        raise Misconfigured(f"MILLRACE_TRANSPORT={settings.millrace_transport}: the edge needs redis for now")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener))


def binding_of(settings: Settings) -> Binding:
    """Return where `settings` want the edge to listen."""
    if not settings.enable_https:
        return Binding(settings.api_host, settings.api_port)
    tls = Tls(settings.https_cert_file, settings.https_key_file, settings.ssl_ca_certs)
    return Binding(settings.api_host, settings.https_port, tls=tls)


async def _serve(settings: Settings, listener: socket.socket | None) -> None:
    closing = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, closing.set)
    name = f"edge-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    transport = RedisTransport(
        redis_config(settings), DeliveryPolicy(**settings.delivery_policy()), consumer=name
    )
    redis = build_redis(redis_config(settings))
    files = file_store(settings, redis)
    rates = Rates(redis, redis_config(settings))
    sessions = session_store(settings, redis)
    states = state_store(settings, redis, files.objects)
    stores = Stores(RedisPresence(redis, redis_config(settings)), files, rates, sessions, states)
    app = create_app(config_of(settings), transport, stores, closing=closing, now=_now)
    starting = asyncio.create_task(transport.start())
    try:
        grace_s = settings.millrace_shutdown_grace_seconds
        await serve(app, binding_of(settings), closing, grace_s, _say_ready, listener)
    finally:
        starting.cancel()
        await transport.close()
        await files.aclose()
        await redis.aclose()
        log.info("edge_stopped")


def _say_ready(url: str) -> None:
    log.info("edge_ready", url=url)


def _now() -> datetime:
    return datetime.now(UTC)
