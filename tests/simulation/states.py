"""The states of sessions: one store that all processes share, and one process's way to it."""

from collections import defaultdict
from datetime import UTC, datetime

import msgspec

from infra.stores.state import NONE, State, StateChanged, StateRecord
from schemas.ids import SessionId, TenantId
from tests.simulation.coverage import Coverage
from tests.simulation.wire import Wire

Owner = tuple[TenantId, SessionId]
_AT = datetime(2026, 1, 1, tzinfo=UTC)


class SharedStates:
    """All versions there ever were, the newest last. As in production, each replaces one that is named."""

    def __init__(self) -> None:
        self.versions: dict[Owner, list[bytes]] = defaultdict(list)

    def newest(self, owner: Owner) -> State | None:
        """Return the state as it is."""
        versions = self.versions[owner]
        return State(_record(versions), versions[-1]) if versions else None

    def replace(self, owner: Owner, data: bytes, expected: str) -> StateRecord:
        """Add a version after the one `expected`. Raises `StateChanged`."""
        versions = self.versions[owner]
        if expected != (_record(versions).etag if versions else NONE):
            raise StateChanged("Another state is there by now.")
        versions.append(data)
        return _record(versions)

    def writers(self, owner: Owner) -> list[str]:
        """Return which execution wrote each version."""
        return [msgspec.json.decode(data, type=dict[str, str])["by"] for data in self.versions[owner]]


class StatesOfProcess:
    """What handlers use of `StateStore`."""

    def __init__(self, shared: SharedStates, wire: Wire, coverage: Coverage) -> None:
        self._shared = shared
        self._wire = wire
        self._coverage = coverage

    async def load(self, owner: TenantId, session_id: SessionId) -> State | None:
        found = self._shared.newest((owner, session_id))
        self._coverage["state carried on"] += found is not None
        await self._wire.between("state: loaded")
        return found

    async def save(self, owner: TenantId, session_id: SessionId, data: bytes, expected: str) -> StateRecord:
        try:
            saved = self._shared.replace((owner, session_id), data, expected)
        except StateChanged:
            self._coverage["state replaced meanwhile"] += 1
            raise
        await self._wire.between("state: saved")
        return saved


def _record(versions: list[bytes]) -> StateRecord:
    return StateRecord(str(len(versions)), len(versions[-1]), "hot", _AT, _AT)
