"""The variables of a session: given to a run before it starts, kept after it.

For Python, and for sessions that are shared: an execution that is a session of its own, as every plain
`POST /exec` is, begins with nothing and leaves nothing, unless the operator wants it to.

Nobody saves who lost his lease and slept through it. States are kept beside the streams, out of reach of
a token; so each attempt *claims* the state before it reads it, and `started`, which is written afterwards,
proves that it held the lease when it did. Whoever takes over claims it before anything else, and from then
on the sleeper's claim is not the newest. One who woke only to claim it once more fails to prove his lease,
and whoever holds the lease claims it back.
"""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from infra.errors import Unavailable
from infra.stores.saved_state import StateChanged, StateClaimed
from infra.stores.state import NONE, StateStore
from sandboxes.protocol import Exit, Sandbox, StateOrder
from schemas.commands import RunCode
from schemas.events import StateInfo
from schemas.languages import find_language
from streams.turns import must_ask

log = structlog.get_logger(__name__)

_CLAIMS_MAX = 5
"""How often a state is claimed back: each of those who lost their leases can take it once."""
_CHANGED = "The state was replaced by somebody else while the code ran, so the run's was not saved."


@dataclass(frozen=True, slots=True)
class States:
    """Where states are, and the operator's side of them."""

    store: StateStore
    bytes_max: int
    on_error: bool = False
    """Keep the variables also of code that failed."""
    own_sessions: bool = False
    """Keep those also of an execution that is a session of its own, for whoever goes on with it."""


class ExecutionState:
    """The state of one attempt, on its way into the sandbox and back."""

    def __init__(self, command: RunCode, states: States | None, prove: Callable[[], Awaitable[None]]) -> None:
        """Make it; `prove` raises `LeaseLost` unless the attempt holds its lease."""
        self._command = command
        self._states = states if states and _has_state(command, states) else None
        self._prove = prove
        self._claim = secrets.token_hex(8)
        self._before = NONE
        self._away = ""

    async def order(self) -> StateOrder | None:
        """Return what the sandbox shall restore and keep; None if nothing.

        While the state cannot be reached the code runs without, and what it leaves is not saved: it would
        take the place of what is only out of reach.
        """
        if self._states is None or self._command.session_id is None:
            return None
        if not must_ask(self._command):  # nobody was there before
            return StateOrder(None, self._states.bytes_max, self._states.on_error)
        try:
            found = await self._states.store.load(self._command.tenant, self._command.session_id, self._claim)
        except Unavailable as away:
            self._away = f"The state could not be read, so the code ran without it: {away.message}"
            return None
        if found is not None:
            self._before = found.record.etag
        data = None if found is None else found.data
        return StateOrder(data, self._states.bytes_max, self._states.on_error)

    async def keep(self, sandbox: Sandbox, exit_: Exit) -> StateInfo:
        """Store what the run saved; whatever else happened, the run stays good. Raises `LeaseLost`."""
        if self._states is None:
            return StateInfo()
        if self._away:
            return StateInfo(error=self._away)
        if exit_.outcome != "exited":
            return StateInfo(error="The run did not come to its own end; the state of before is kept.")
        saved = await sandbox.saved_state()
        if saved.data is None:
            return StateInfo(error=saved.note or "Nothing was saved.")
        return await self._store(self._states.store, saved.data, saved.note)

    async def _store(self, store: StateStore, data: bytes, note: str) -> StateInfo:
        try:
            await self._save(store, data)
        except (StateChanged, StateClaimed):
            return StateInfo(error=_CHANGED)
        except Unavailable as away:
            log.warning("state_not_saved", session_id=self._command.session_id, reason=away.message)
            return StateInfo(error=f"The state could not be saved: {away.message}")
        return StateInfo(saved=True, size_bytes=len(data), error=note or None)

    async def _save(self, store: StateStore, data: bytes) -> None:
        """Save, and claim the state once more where somebody who has no right to it took it meanwhile."""
        command = self._command
        assert command.session_id is not None, "without one there is no state"
        for attempt in range(_CLAIMS_MAX):
            try:
                await store.save(command.tenant, command.session_id, data, self._before, self._claim)
                return
            except StateClaimed:
                if attempt == _CLAIMS_MAX - 1:
                    raise
            await store.claim(command.tenant, command.session_id, self._claim)
            await self._prove()  # afterwards: whoever takes the lease from now on claims it later


async def fence_off(command: RunCode, states: States | None) -> None:
    """Keep earlier attempts from saving variables any more, as far as the store can be reached."""
    if states and command.session_id is not None and _has_state(command, states):
        with suppress(Unavailable):
            await states.store.claim(command.tenant, command.session_id, secrets.token_hex(8))


def _has_state(command: RunCode, states: States) -> bool:
    language = find_language(command.language)
    is_kept = must_ask(command) or (states.own_sessions and command.session_id is not None)
    return is_kept and language is not None and language.code == "py"
