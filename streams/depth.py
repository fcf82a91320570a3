"""How much waits on a broker: what back pressure, metrics and whoever scales handlers go by."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.commands import Priority
from schemas.ids import TenantId

TENANTS_TOLD_MAX = 256
"""Of how many tenants it is said how much they have waiting."""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How much waits, for 429, 503 and metrics."""

    waiting: int
    """Entries no handler was handed yet, and requests that are parked."""
    pending: int
    """Entries handed out and not acknowledged."""
    parked: int = 0
    """Of those that wait, how many wait for their session's turn."""
    priorities: Mapping[Priority, int] = field(default_factory=dict)
    """Of those that wait for a slot, how many are of each priority."""
    tenants: Mapping[TenantId, int] = field(default_factory=dict)
    """How many each tenant has waiting for a slot: those `TENANTS_TOLD_MAX` that have most."""
    oldest_s: float = 0.0
    """For how long the oldest of those that wait for a slot has waited."""
    finished: int = 0
    """How many results there ever were: the difference between two looks tells how fast work is done."""
