"""What one sandbox is made of before its program comes, by whichever way it was made."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sandboxes.local.cgroups import Group
from sandboxes.local.launch import Guest
from sandboxes.local.prestarted import Prestarted
from sandboxes.local.zygote_child import Child


async def _remove(group: Group) -> None:
    await asyncio.to_thread(group.remove)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a sandbox consists of outside this process."""

    guest: Guest | Child
    group: Group | None
    joined: "asyncio.Future[None]"
    """Done once the guest is in the group."""
    uid: int
    """The user who owns its files, as the host counts."""
    ahead: Prestarted | None = None
    """The runtime that waits in it already."""
    cpu_s_before: float = 0.0
    """What it has used until now."""
    leave: "Callable[[Group], Awaitable[None]]" = _remove
    """Gives the group back in the end."""
