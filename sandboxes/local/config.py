"""What an operator may say about sandboxes on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig:
    """Settings of the local sandboxes; what one execution may use is in `SandboxLimits`."""

    allow_weak: bool = False
    """Accept a host whose isolation is weak (tier D)."""
    use_cgroups: bool = True
    """Off: do without them even where they could be used."""
    disk_bytes_max: int = 256 * MIB
    """Size of each writable place in a sandbox, and of the largest file. Held in memory."""
    flood_bytes_max: int = 256 * MIB
    """How much output beyond its limit is counted and dropped before the program is killed."""
    uid_first: int = 58_000
    """As root, sandboxes run as one of `uids` user ids from here on, which nobody else should use."""
    uids: int = 1_000
    warm_plain: int = 2
    """Children of a warm Python that wait ready; 0 starts every Python cold."""
    warm_heavy: int = 1
    """Those with the data libraries imported, where the guest has them."""
    prestarted: Mapping[str, int] = field(default_factory=dict)
    """For each language how many runtimes wait that were started ahead; where none does, it starts cold."""
    prestart_at_once: bool = True
    """Off: a language's runtimes start when it has been used once, so that an idle service stays small."""
    start_timeout_s: float = 20.0
    """How long a sandbox may take to stand; longer is a failure of the host."""
    host_paths: tuple[str, ...] = ()
    """Outside /usr: what sandboxes see read-only, where it exists."""
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    """PATH inside, and where languages are looked for."""
