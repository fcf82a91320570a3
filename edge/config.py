"""What the edge is told at the door. Related values travel as one small object; nobody goes looking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge.keys import Keyring
from schemas.validate import Bounds
from streams.asyncapi import Carrier, Names
from streams.topology import Topology

if TYPE_CHECKING:
    from edge.jwt_users import JwtUsers


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """Everything the edge needs to know beside its publisher and stores."""

    keys: Keyring
    users: "JwtUsers | None" = None
    """Who a signed token may name; None where tokens do not count."""
    key_header: str = "x-api-key"
    trusted_network: bool = False
    """Requests without a key are the tenant `default`; only where nobody else can reach the edge."""
    user_limits_per_minute: Mapping[str, int] = field(default_factory=dict)
    """How often a user that a token names may do what; empty: as often as he likes."""
    bounds: Bounds = field(default_factory=Bounds)
    body_bytes_max: int = 80 * 1024 * 1024
    state_bytes_max: int = 50 * 1024 * 1024
    """Of one saved state."""
    body_timeout_s: float = 60.0
    """How long a client may take to send its body."""
    output_bytes_max: int = 1024 * 1024
    """Of stdout and stderr together, in one answer."""
    execution_s_max: float = 30.0
    """The operator's time limit, of the build and of the run each."""
    sync_wait_s_max: float = 300.0
    """Most that a request waits for its execution, queueing included; also what `Prefer: wait` is granted."""
    when_client_leaves: Literal["cancel", "finish"] = "cancel"
    """What becomes of a synchronous run whose client went away."""
    waiting_max: int = 10_000
    """Requests that may wait for a handler before new ones are told to come back."""
    tenant_waiting_max: int = 5_000
    """Of one tenant."""
    continuation_key: bytes = b"\0" * 32
    """Signs continuation tokens; the same on every edge."""
    continuation_s: float = 600.0
    """How long a program waits for its tools, and so how old a token may be."""
    comment_every_s: float = 15.0
    """How often a silent SSE stream shows that it lives."""
    health_timeout_s: float = 5.0
    access_logs: bool = True
    security_logs: bool = True
    cors_origins: Sequence[str] = ()
    docs: bool = True
    stream_names: Names = field(default_factory=Topology)
    """How the streams are called, for the document that tells publishers."""
    stream_carrier: Carrier = "redis"
    page_files: Mapping[str, Path] = field(default_factory=dict)
    """Where the assets of the documentation pages lie, if they are installed, by name."""

    @property
    def start_s_max(self) -> float:
        """How long a synchronous run may wait to be started and still end while it is waited for."""
        return max(self.sync_wait_s_max / 2, self.sync_wait_s_max - 2 * self.execution_s_max)
