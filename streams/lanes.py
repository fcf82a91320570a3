"""Lanes: what waits is handed out fairly between tenants, and interactive work before batch work.

A *lane* holds what one tenant has waiting of one priority, first in, first out. While a slot is free nothing
waits and lanes do not matter. Of lanes that wait, the one whose turn is longest ago is served next
(start-time fair queueing with executions of cost 1): a lane has a *mark*, which grows by 1 with each
hand-out, and the smallest mark is next. A lane that comes anew begins just above the mark that was served
last, so before everybody who was served in this round already, and gathers no credit while it is empty.

Newcomers get marks `STEP` apart: they stay in order, and whoever waits is served after at most 1 / `STEP`
of them, though there were always more. Interactive lanes go before batch lanes, but while a batch lane
waits, every `BATCH_EVERY`th hand-out is batch's.

The same arithmetic stands in `redis/lanes.lua`; the contract suite holds all transports to the same order.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from schemas.commands import Priority
from schemas.ids import TenantId, is_execution_id
from streams.depth import TENANTS_TOLD_MAX

BATCH_EVERY = 8
STEP = 1 / 64

Lane = tuple[Priority, TenantId]
PRIORITIES: tuple[Priority, ...] = ("interactive", "batch")
_DEFAULT: Lane = ("interactive", TenantId("default"))

T = TypeVar("T")


class _Head(msgspec.Struct):
    """What is read of a request to sort it. Whatever breaks a rule is refused by whoever is handed it."""

    tenant: object = None
    priority: object = None


_head = msgspec.json.Decoder(_Head)


def lane_of(body: bytes) -> Lane:
    """Return the lane of a request. What cannot be read goes into the default tenant's, to be refused."""
    try:
        head = _head.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _DEFAULT
    tenant = head.tenant if isinstance(head.tenant, str) and is_execution_id(head.tenant) else "default"
    return ("batch" if head.priority == "batch" else "interactive", TenantId(tenant))


@dataclass(slots=True)
class _Ring(Generic[T]):
    """The lanes of one priority."""

    lanes: dict[TenantId, deque[T]] = field(default_factory=dict)
    """Those that wait; never an empty one."""
    marks: dict[TenantId, float] = field(default_factory=dict)
    served: float = 0.0
    """The mark that was served last."""
    newest: float = 0.0
    """The mark that the latest newcomer got."""

    def add(self, tenant: TenantId, item: T) -> None:
        if tenant not in self.lanes:
            self.lanes[tenant] = deque()
            if self.marks.get(tenant, 0.0) <= self.served:
                self.newest = max(self.newest, self.served) + STEP
                self.marks[tenant] = self.newest
        self.lanes[tenant].append(item)

    def take(self) -> T:
        tenant = min(self.lanes, key=lambda name: (self.marks[name], name))
        self.served = self.marks[tenant]
        self.marks[tenant] += 1
        lane = self.lanes[tenant]
        item = lane.popleft()
        if not lane:
            self._empty(tenant)
        return item

    def _empty(self, tenant: TenantId) -> None:
        """Forget a lane. Its mark is kept while it is ahead, lest who comes back at once be served first."""
        del self.lanes[tenant]
        kept = (name for name, mark in self.marks.items() if name in self.lanes or mark > self.served)
        self.marks = {name: self.marks[name] for name in kept}
        if not self.lanes:
            self.marks, self.served, self.newest = {}, 0.0, 0.0


class FairOrder(Generic[T]):
    """What waits, in the order in which it is to be handed out."""

    def __init__(self) -> None:
        self._rings: dict[Priority, _Ring[T]] = {priority: _Ring() for priority in PRIORITIES}
        self._since_batch = 0

    def __len__(self) -> int:
        return sum(len(lane) for ring in self._rings.values() for lane in ring.lanes.values())

    def add(self, lane: Lane, item: T) -> None:
        """Put `item` at the end of its lane."""
        priority, tenant = lane
        self._rings[priority].add(tenant, item)

    def take(self) -> T | None:
        """Take out whatever is next, or None if nothing waits."""
        interactive, batch = self._rings["interactive"], self._rings["batch"]
        if not batch.lanes:
            self._since_batch = 0
            return interactive.take() if interactive.lanes else None
        if interactive.lanes and self._since_batch < BATCH_EVERY - 1:
            self._since_batch += 1
            return interactive.take()
        self._since_batch = 0
        return batch.take()

    def waiting_in(self, lane: Lane) -> int:
        """Return how many wait in one lane."""
        priority, tenant = lane
        return len(self._rings[priority].lanes.get(tenant, ()))

    def per_priority(self) -> Mapping[Priority, int]:
        """Return how many wait of each priority."""
        return {name: sum(map(len, ring.lanes.values())) for name, ring in self._rings.items()}

    def per_tenant(self) -> Mapping[TenantId, int]:
        """Return how many wait of each tenant that has any, those with the most."""
        counts: dict[TenantId, int] = {}
        for ring in self._rings.values():
            for tenant, lane in ring.lanes.items():
                counts[tenant] = counts.get(tenant, 0) + len(lane)
        most = sorted(counts, key=lambda tenant: (-counts[tenant], tenant))[:TENANTS_TOLD_MAX]
        return {tenant: counts[tenant] for tenant in most}
