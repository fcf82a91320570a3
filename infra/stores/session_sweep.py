"""Clears away what ended sessions leave: when told of it, and now and then for those nobody told us of.

Every store that keeps something of sessions takes part. Doing it twice, or in two processes, is harmless;
what fails is tried again with the next sweep, as the session is listed until all of it is gone.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from infra.errors import Unavailable
from infra.stores.sessions import Ended, Sessions
from schemas.ids import SessionId, TenantId

BATCH = 100

log = structlog.get_logger(__name__)


class KeepsOfSessions(Protocol):
    """A store that keeps something of sessions."""

    async def delete_session(self, owner: TenantId, session_id: SessionId) -> object:
        """Forget all of it; another owner's session is left alone. Raises `Unavailable`."""


class SessionSweep:
    """Ends sessions in every store."""

    def __init__(
        self,
        sessions: Sessions,
        stores: Sequence[KeepsOfSessions],
        lasting: Sequence[KeepsOfSessions] = (),
    ) -> None:
        self._sessions = sessions
        self._stores = stores
        self._lasting = lasting
        """These forget what somebody ends; what time ends they keep for a time of their own."""

    async def end(self, owner: TenantId, session_id: SessionId) -> None:
        """End one session now, whether it is known or not. Raises `Unavailable`."""
        await self._sessions.end(owner, session_id)
        await self._clear(Ended(owner, session_id, on_purpose=True))

    async def forever(self, every_s: float) -> None:
        """Sweep every `every_s` seconds, in whichever process comes first; until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                # A little less than the interval, as clocks differ. If it dies, the next one follows.
                if await self._sessions.lead(every_s * 0.9):
                    await self.once()
            except Unavailable as error:
                log.warning("session_sweep_postponed", reason=error.message)

    async def once(self) -> int:
        """Clear away all sessions that have ended; returns how many. Raises `Unavailable`."""
        swept = 0
        while ended := await self._sessions.ended(BATCH):
            for session in ended:
                await self._clear(session)
            swept += len(ended)
        if swept:
            log.info("sessions_swept", ended=swept)
        return swept

    async def _clear(self, ended: Ended) -> None:
        for store in (*self._stores, *(self._lasting if ended.on_purpose else ())):
            await store.delete_session(ended.owner, ended.id)
        await self._sessions.cleared(ended.owner, ended.id)
