"""One handler process: consumes, listens, announces itself, and leaves in good order."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog

from handlers.run_code import RunCodeHandler
from handlers.running import Registry
from infra.errors import Unavailable
from infra.stores.presence import PRESENCE_EVERY_S, Presence
from infra.tasks import end_tasks
from sandboxes.protocol import Sandboxes
from schemas.presence import HandlerPresence, LanguagePresence
from streams.protocol import Transport

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What a handler process is told."""

    id: str
    slots: int
    """How many executions may run here at once."""
    shutdown_grace_s: float
    """How long running executions may go on after a request to stop."""


class HandlerService:
    """Owns the start and the end of everything in a handler process."""

    def __init__(
        self,
        config: ServiceConfig,
        transport: Transport,
        sandboxes: Sandboxes,
        handler: RunCodeHandler,
        registry: Registry,
        presence: Presence,
    ) -> None:
        self._config = config
        self._transport = transport
        self._sandboxes = sandboxes
        self._handler = handler
        self._registry = registry
        self._presence = presence

    async def run(self, stop: asyncio.Event, now: Callable[[], datetime]) -> None:
        """Work until `stop` is set, then finish what runs and take nothing new.

        Raises `Misconfigured` where this host cannot isolate code.
        """
        await self._sandboxes.start()
        await self._transport.start()
        listening = asyncio.create_task(
            self._transport.listen(self._registry.on_control, self._registry.concerns)
        )
        announcing = asyncio.create_task(self._announce_forever(now))
        consuming = asyncio.create_task(
            self._transport.consume(self._handler.on_delivery, slots=self._config.slots)
        )
        log.info("handler_ready", id=self._config.id, slots=self._config.slots)
        try:
            await _first_of(consuming, listening, asyncio.create_task(stop.wait()))
            await self._drain(consuming)
            if listening.done():
                listening.result()  # a handler that hears no cancellation is not to go on
        finally:
            await end_tasks(listening, announcing, consuming)
            await self._leave()

    async def _drain(self, consuming: "asyncio.Task[None]") -> None:
        self._transport.drain()
        log.info("handler_draining", running=len(self._registry))
        done, _ = await asyncio.wait({consuming}, timeout=self._config.shutdown_grace_s)
        if not done:
            await self._registry.interrupt_all("The handler was shut down while the code ran.")
            await asyncio.wait({consuming}, timeout=self._config.shutdown_grace_s)
        if consuming.done():
            consuming.result()

    async def _leave(self) -> None:
        with suppress(Unavailable):
            await self._presence.leave(self._config.id)
        await self._sandboxes.close()
        await self._transport.close()
        log.info("handler_stopped", id=self._config.id)

    async def _announce_forever(self, now: Callable[[], datetime]) -> None:
        started_at = now()
        while True:
            # Who consumes nothing is as good as absent, and must not look healthy from outside.
            if not self._transport.is_consuming():
                await asyncio.sleep(_LOOK_AGAIN_S)
                continue
            try:
                # Who cannot reach the broker takes no work, though the store of presences may be another one.
                await self._transport.ping()
                await self._presence.announce(self._describe(started_at, now()))
            except Unavailable as away:
                log.warning("presence_not_announced", reason=away.message)
            await asyncio.sleep(PRESENCE_EVERY_S)

    def _describe(self, started_at: datetime, seen_at: datetime) -> HandlerPresence:
        info = self._sandboxes.info()
        return HandlerPresence(
            id=self._config.id,
            started_at=started_at,
            seen_at=seen_at,
            kind=info.kind,
            tier=info.tier,
            slots=self._config.slots,
            running=len(self._registry),
            languages=[
                LanguagePresence(
                    code=language.code,
                    available=language.available,
                    version=language.version,
                    missing=language.missing,
                    warm=language.warm,
                )
                for language in info.languages
            ],
            notes=list(info.notes),
        )


async def _first_of(*tasks: "asyncio.Task[object]") -> None:
    """Wait until one of `tasks` ends; the last one is only a signal and is not kept."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    tasks[-1].cancel()
