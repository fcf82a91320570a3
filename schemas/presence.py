"""What a live handler or pool says of itself, now and then, so that front doors can tell what runs here."""

from datetime import datetime

import msgspec


class LanguagePresence(msgspec.Struct, frozen=True, kw_only=True):
    """One language on one handler. `warm` counts sandboxes that wait ready for it."""

    code: str
    available: bool
    version: str = ""
    missing: str = ""
    warm: int = 0


class HandlerPresence(msgspec.Struct, frozen=True, kw_only=True):
    """One handler process, its sandboxes and how busy it is."""

    id: str
    started_at: datetime
    seen_at: datetime
    kind: str
    """`local`, `kubernetes` or `fake`."""
    tier: str | None
    slots: int
    running: int
    languages: list[LanguagePresence]
    notes: list[str] = []


class PoolPresence(msgspec.Struct, frozen=True, kw_only=True):
    """One process that keeps pods ready; its notes say what keeps it from that, if anything does."""

    id: str
    started_at: datetime
    seen_at: datetime
    leads: bool
    notes: list[str] = []
