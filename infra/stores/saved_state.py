"""A saved state as it is known, and why one was not saved: the words of `StateStore` and its users."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from infra.errors import MillraceError


class StateChanged(MillraceError):
    """Another state is there than the one that was to be replaced."""


class StateClaimed(MillraceError):
    """Somebody else claimed the state since, or nobody knows of the claim any more."""


@dataclass(frozen=True, slots=True)
class StateRecord:
    """What is known of a state without reading it."""

    etag: str
    """SHA-256 of its bytes, in hexadecimal."""
    size_bytes: int
    tier: Literal["hot", "archived"]
    saved_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class State:
    """A state with its bytes."""

    record: StateRecord
    data: bytes
