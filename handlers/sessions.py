"""Sessions as executions use them and commands end them."""

import asyncio

import structlog

from infra.errors import Unavailable
from infra.stores.files import FileStore
from infra.stores.session_sweep import SessionSweep
from infra.stores.sessions import Sessions
from schemas.commands import EndSession, RunCode
from schemas.ids import SessionId, TenantId, is_opaque_id
from streams.turns import must_ask

log = structlog.get_logger(__name__)


async def enter_session(command: RunCode, sessions: Sessions | None, files: FileStore) -> None:
    """Let the command's session and its files live for another while, and open it if it is not there.

    An execution that is a session of its own, as those of the compatible contract are, enters none. Raises
    `RequestRefused` for a session of another owner, or one too many.
    """
    if sessions is not None and command.session_id is not None and must_ask(command):
        await asyncio.gather(
            _use(sessions, command.tenant, command.session_id, opens=not command.session_unlisted),
            files.records.keep(command.tenant, command.session_id),
        )


async def _use(sessions: Sessions, owner: TenantId, session_id: SessionId, *, opens: bool) -> None:
    if opens or await sessions.owner_of(session_id) is not None:
        await sessions.use(owner, session_id)


class SessionEnder:
    """Ends sessions beside everything else: forgetting many files takes a while.

    Every handler hears every `end_session` and all of them do it, which is harmless. Whom a failure keeps
    from it leaves it to the next sweep.
    """

    def __init__(self, sweep: SessionSweep, sessions: Sessions, files: FileStore) -> None:
        self._sweep = sweep
        self._sessions = sessions
        self._files = files
        self._ending: set[asyncio.Task[None]] = set()

    def start(self, command: EndSession) -> None:
        """Begin to end a session."""
        ending = asyncio.create_task(self._end(command), name=f"end {command.session_id}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def aclose(self) -> None:
        """Return when what was begun is done."""
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _end(self, command: EndSession) -> None:
        if not is_opaque_id(command.session_id):
            return
        try:
            owner = command.tenant or await self._owner_of(command)
            if owner is not None:
                await self._sweep.end(owner, command.session_id)
        except Unavailable as away:
            log.warning("session_not_ended_yet", session_id=command.session_id, reason=away.message)

    async def _owner_of(self, command: EndSession) -> TenantId | None:
        """Return whose session it is; of some there are files and nothing else."""
        owner = await self._sessions.owner_of(command.session_id)
        return owner or await self._files.records.owner_of(command.session_id)
