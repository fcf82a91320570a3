"""The states of sessions: one store that all processes share, and one process's way to it."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from infra.stores.saved_state import State, StateChanged, StateClaimed, StateRecord
from infra.stores.state import NONE
from schemas.http import ExecutionStatus
from schemas.ids import ExecutionId, SessionId, TenantId
from tests.simulation.coverage import Coverage
from tests.simulation.wire import Wire

Owner = tuple[TenantId, SessionId]
_AT = datetime(2026, 1, 1, tzinfo=UTC)


class SharedStates:
    """All versions there ever were, the newest last. As in production, each replaces one that is named."""

    def __init__(self) -> None:
        self.versions: dict[Owner, list[bytes]] = defaultdict(list)
        self.saved_at: dict[Owner, list[int]] = defaultdict(list)
        """How much history there was when each was saved."""
        self.claims: dict[Owner, str] = {}
        self.replaced: list[str] = []
        """Who held the claim, and found another state there than he had read."""

    def newest(self, owner: Owner) -> State | None:
        """Return the state as it is."""
        versions = self.versions[owner]
        return State(_record(versions), versions[-1]) if versions else None

    def claim(self, owner: Owner, claim: str) -> None:
        """Take from all others that they may save."""
        self.claims[owner] = claim

    def replace(self, owner: Owner, data: bytes, expected: str, claim: str, now: int) -> StateRecord:
        """Add a version after the one `expected`. Raises `StateChanged` and `StateClaimed`."""
        versions = self.versions[owner]
        if self.claims.get(owner) != claim:
            raise StateClaimed("Another attempt has the session by now.")
        if expected != (_record(versions).etag if versions else NONE):
            self.replaced.append(_writer(data))
            raise StateChanged("Another state is there by now.")
        versions.append(data)
        self.saved_at[owner].append(now)
        return _record(versions)

    def writers(self, owner: Owner) -> list[str]:
        """Return which execution wrote each version."""
        return [_writer(data) for data in self.versions[owner]]


class StatesOfProcess:
    """What handlers use of `StateStore`."""

    def __init__(
        self,
        shared: SharedStates,
        wire: Wire,
        coverage: Coverage,
        history: Sequence[tuple[ExecutionId, ExecutionStatus]],
    ) -> None:
        self._shared = shared
        self._wire = wire
        self._coverage = coverage
        self._history = history

    async def load(self, owner: TenantId, session_id: SessionId, claim: str) -> State | None:
        await self._wire.between("state: asked")
        self._shared.claim((owner, session_id), claim)
        found = self._shared.newest((owner, session_id))
        self._coverage["state carried on"] += found is not None
        await self._wire.between("state: loaded")
        return found

    async def claim(self, owner: TenantId, session_id: SessionId, claim: str) -> None:
        self._shared.claim((owner, session_id), claim)
        await self._wire.between("state: claimed")

    async def save(
        self, owner: TenantId, session_id: SessionId, data: bytes, expected: str, claim: str
    ) -> StateRecord:
        await self._wire.between("state: sent")
        try:
            saved = self._shared.replace((owner, session_id), data, expected, claim, len(self._history))
        except StateClaimed:
            self._coverage["state claimed meanwhile"] += 1
            raise
        await self._wire.between("state: saved")
        return saved


def _writer(data: bytes) -> str:
    return msgspec.json.decode(data, type=dict[str, str])["by"]


def _record(versions: list[bytes]) -> StateRecord:
    return StateRecord(str(len(versions)), len(versions[-1]), "hot", _AT, _AT)
