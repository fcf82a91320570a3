"""Which isolation this host can give, found out by doing it.

Reading version numbers and sysctls tells little: a container's profile, a masked /proc or a read-only
cgroup file system forbid what the kernel could do. So a sandbox is built, and a group is made and joined.

    A  namespaces and control groups
    B  namespaces; memory is watched instead of limited, there is no CPU quota
    C  as A or B, but the host masks parts of /proc, and sandboxes have none
    D  no user namespaces: weak, and only by explicit opt-in (weak.py)
    E  not even bubblewrap
"""

import asyncio
import shutil
from dataclasses import dataclass, replace

from infra.errors import Misconfigured
from infra.system_packages import install_command
from sandboxes.local.cgroups import GroupLimits, Hierarchy, new_name, own_places
from sandboxes.local.cgroups_v1 import CONTROLLERS, HierarchyV1
from sandboxes.local.cgroups_v2 import HierarchyV2
from sandboxes.local.config import LocalConfig
from sandboxes.local.launch import Guest, Launcher
from sandboxes.local.weak import NOTES, WeakLauncher, weak_launcher
from sandboxes.protocol import SandboxFailed, SandboxUnavailable, Tier

_TRIAL = GroupLimits(memory_bytes_max=256 * 1024 * 1024, pids_max=64, cpus=1.0)


@dataclass(frozen=True, slots=True)
class Host:
    """What was found."""

    tier: Tier
    launcher: Launcher
    hierarchy: Hierarchy | None
    notes: tuple[str, ...]
    """What is lacking, each with what mends it."""


def find_bwrap() -> str:
    """Return the path of bubblewrap. Raises `Misconfigured` (tier E)."""
    if found := shutil.which("bwrap"):
        return found
    raise Misconfigured(
        f"Tier E: bubblewrap is not installed, and no code runs without it; {install_command(['bubblewrap'])}"
    )


async def probe(launcher: Launcher, uid: int | None, config: LocalConfig) -> Host:
    """Build one sandbox and one group, and say what came of it. Raises `Misconfigured`."""
    guest, launcher = await _first_guest(launcher, uid, config)
    try:
        hierarchy, why_not = None, "they were switched off"
        if config.use_cgroups:
            hierarchy, why_not = await asyncio.to_thread(find_hierarchy, guest.pid)
    finally:
        await guest.close()
    notes = []
    if hierarchy is None:
        weak = isinstance(launcher, WeakLauncher)
        kept = "limited for each process alone" if weak else "watched, not limited"
        notes.append(
            f"No control groups ({why_not}): memory is {kept}, and there is no CPU quota. "
            "Run as root or in a delegated cgroup (systemd: Delegate=yes)."
        )
    if isinstance(launcher, WeakLauncher):
        return Host("D", launcher, hierarchy, (*NOTES, *notes))
    if not launcher.proc:
        notes.append(
            "The host masks /proc, so sandboxes have none; unmask it (Docker: systempaths=unconfined)."
        )
    tier: Tier = "C" if not launcher.proc else "A" if hierarchy else "B"
    return Host(tier, launcher, hierarchy, tuple(notes))


async def _first_guest(launcher: Launcher, uid: int | None, config: LocalConfig) -> tuple[Guest, Launcher]:
    """Return a standing sandbox and the launcher that made it: with a /proc if possible."""
    faults = []
    for attempt in (launcher, replace(launcher, proc=False)):
        try:
            return await attempt.launch(uid=uid, network=False), attempt
        except (SandboxFailed, SandboxUnavailable) as error:
            faults.append(str(error))
    if config.allow_weak:
        return await _weak_guest(launcher, config)
    raise Misconfigured(
        f"Tier D: bubblewrap cannot make user namespaces here. {faults[0]} "
        "Allow them: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000; on Ubuntu "
        "give bwrap an AppArmor profile; in Docker use --security-opt seccomp=unconfined "
        "--security-opt apparmor=unconfined --security-opt systempaths=unconfined. "
        "To run with weak isolation instead (docs/security.md), as root: MILLRACE_ALLOW_WEAK_SANDBOX=true."
    )


async def _weak_guest(strong: Launcher, config: LocalConfig) -> tuple[Guest, Launcher]:
    launcher = await asyncio.to_thread(weak_launcher, strong, config.uid_first, config.uids)
    try:
        return await launcher.launch(uid=None, network=False), launcher
    except (SandboxFailed, SandboxUnavailable) as error:
        raise Misconfigured(
            f"Tier E: neither user namespaces nor Landlock with a user id of its own work here. {error}"
        ) from error


def find_hierarchy(pid: int) -> tuple[Hierarchy | None, str]:
    """Return where groups with all controllers can be made, tried out on process `pid`; or why nowhere."""
    faults = []
    for build in (_version_1, _version_2):
        try:
            hierarchy = build()
            if hierarchy:
                _try_out(hierarchy, pid)
                return hierarchy, ""
        except OSError as error:
            faults.append(f"{error.filename}: {error.strerror}")
    return None, "; ".join(faults) or "none are mounted"


def _version_1() -> Hierarchy | None:
    places = own_places()
    return HierarchyV1(places) if set(CONTROLLERS) <= set(places) else None


def _version_2() -> Hierarchy | None:
    place = own_places().get("")
    if place is None or not (place.own / "cgroup.controllers").read_text().split():
        return None
    hierarchy = HierarchyV2(place.own)
    hierarchy.hand_down()
    return hierarchy


def _try_out(hierarchy: Hierarchy, pid: int) -> None:
    group = hierarchy.make(new_name(), _TRIAL)
    try:
        group.join(pid)
        group.usage()
    finally:
        group.remove()
