"""The handlers' composition root: reads the settings, builds the rooms, runs until told to stop."""

import asyncio
import os
import secrets
import signal
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

import uvloop

from handlers.run_code import RunCodeConfig, RunCodeHandler
from handlers.running import Registry
from handlers.service import HandlerService, ServiceConfig
from handlers.sessions import SessionEnder
from handlers.state import States
from infra.connect import file_store, redis_config, session_store, state_store
from infra.redis import build_redis
from infra.settings import Settings
from infra.stores.file_sweep import FileSweep
from infra.stores.files import FileStore
from infra.stores.presence import RedisPresence
from infra.stores.session_sweep import SessionSweep
from infra.stores.sessions import Sessions
from infra.stores.state import StateStore
from infra.stores.state_archive import StateArchive
from sandboxes.bodies import build_sandboxes
from streams.bodies import build_transport, import_for_consuming
from streams.protocol import DeliveryPolicy

MIB = 1024 * 1024
RECENT_STATES_BYTES_MAX = 32 * MIB
"""Of sessions whose last execution ran here: their next one needs not fetch their variables."""


def main(settings: Settings) -> None:
    """Run one handler process until SIGTERM or SIGINT. Raises `Misconfigured`."""
    import_for_consuming(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    redis = build_redis(redis_config(settings))
    files, sessions = file_store(settings, redis), session_store(settings, redis)
    states = state_store(settings, redis, files.objects, RECENT_STATES_BYTES_MAX)
    session_sweep = SessionSweep(sessions, [files], lasting=[states])
    ender = SessionEnder(session_sweep, sessions, files)
    every_s = settings.session_cleanup_interval_minutes * 60.0
    sweeps = (session_sweep, FileSweep(files, redis, redis_config(settings)))
    sweeping = [asyncio.create_task(sweep.forever(every_s)) for sweep in sweeps]
    if settings.state_archive_enabled:
        sweeping.append(asyncio.create_task(_archive(settings, states).forever()))
    registry = Registry(ender.start, settings.millrace_tool_wait_seconds_max)
    stores = Stores(RedisPresence(redis, redis_config(settings)), files, sessions, states)
    try:
        await _build(settings, stores, registry).run(stop, _now)
    finally:
        for task in sweeping:
            task.cancel()
        await ender.aclose()
        await files.aclose()
        await redis.aclose()


@dataclass(frozen=True, slots=True)
class Stores:
    """What outlives an execution."""

    presence: RedisPresence
    files: FileStore
    sessions: Sessions
    states: StateStore


def _build(settings: Settings, stores: Stores, registry: Registry) -> HandlerService:
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    policy = DeliveryPolicy(**settings.delivery_policy())
    transport = build_transport(settings, name)
    sandboxes = build_sandboxes(settings)
    config = RunCodeConfig(
        bounds=settings.bounds(),
        limits=settings.sandbox_limits(),
        policy=policy,
        network=not settings.enable_network_isolation,
    )
    handler = RunCodeHandler(
        config,
        transport,
        sandboxes,
        stores.files,
        registry,
        _now,
        sessions=stores.sessions,
        states=_states(settings, stores.states),
    )
    service = ServiceConfig(
        id=name,
        slots=settings.max_concurrent_executions,
        shutdown_grace_s=settings.millrace_shutdown_grace_seconds,
    )
    return HandlerService(service, transport, sandboxes, handler, registry, stores.presence)


def _states(settings: Settings, store: StateStore) -> States | None:
    if not settings.state_persistence_enabled:
        return None
    return States(
        store,
        settings.state_max_size_mb * MIB,
        on_error=settings.state_capture_on_error,
        own_sessions=settings.millrace_exec_state,
    )


def _archive(settings: Settings, states: StateStore) -> StateArchive:
    return StateArchive(
        states,
        after_s=float(settings.state_archive_after_seconds),
        every_s=float(settings.state_archive_check_interval_seconds),
    )


def _now() -> datetime:
    return datetime.now(UTC)
