"""`millrace pool`: keeps pods ready for all handlers. Any number may run; one leads."""

import asyncio
import secrets
import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime

import structlog
import uvloop

from infra.connect import redis_config
from infra.errors import Misconfigured, Unavailable
from infra.redis import build_redis
from infra.settings import Settings
from infra.stores.presence import PRESENCE_EVERY_S, Presence, RedisPresence
from infra.tasks import end_tasks
from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.pool import PodPool
from sandboxes.pod_settings import kubernetes_config
from schemas.presence import PoolPresence

log = structlog.get_logger(__name__)


def main(settings: Settings) -> None:
    """Run one pool process until SIGTERM or SIGINT. Raises `Misconfigured`."""
    if settings.millrace_sandbox != "kubernetes":
        raise Misconfigured("A pool is of pods: set MILLRACE_SANDBOX=kubernetes")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    config, where = kubernetes_config(settings), redis_config(settings)
    redis, api = build_redis(where), KubernetesApi(config.namespace)
    identity = f"{socket.gethostname()}-{secrets.token_hex(3)}"
    pool = PodPool(config, api, Claims(redis, where, settings.millrace_instance), identity)
    presence = RedisPresence(redis, where)
    await api.open()
    log.info("pool_ready", identity=identity, namespace=api.namespace)
    working, stopping = asyncio.create_task(pool.run()), asyncio.create_task(stop.wait())
    announcing = asyncio.create_task(_announce_forever(pool, presence, identity))
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        await end_tasks(working, stopping, announcing)
        with suppress(Unavailable):
            await presence.leave_pool(identity)
        await api.aclose()
        await redis.aclose()
        log.info("pool_stopped", identity=identity)


async def _announce_forever(pool: PodPool, presence: Presence, identity: str) -> None:
    """Say how the pool is doing where edges look, whether a handler lives or not."""
    started_at = datetime.now(UTC)
    while True:
        seen_at, notes = datetime.now(UTC), pool.notes()
        said = PoolPresence(
            id=identity, started_at=started_at, seen_at=seen_at, leads=pool.leads, notes=notes
        )
        try:
            await presence.announce(said)
        except Unavailable as away:
            log.warning("presence_not_announced", reason=away.message)
        await asyncio.sleep(PRESENCE_EVERY_S)
