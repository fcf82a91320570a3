"""Warm Python for the local sandboxes: children of a zygote, each in a control group if there are any.

What a child costs is paid before anybody asks for it. The limits it was made with are a guess, those asked
for last; a child whose guess was wrong is moved to another group when it is taken.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from infra.tasks import made_in_thread
from sandboxes.local.cgroups import INIT_PROCESSES, Group, GroupLimits, Hierarchy, new_name
from sandboxes.local.config import LocalConfig
from sandboxes.local.launch import Launcher
from sandboxes.local.plan import environment
from sandboxes.local.zygote import Zygote
from sandboxes.local.zygote_child import Child
from sandboxes.local.zygote_leash import cpu_s_of
from sandboxes.local.zygote_pool import PoolConfig, ZygotePool
from sandboxes.local.zygote_routing import Flavour, flavour_of
from sandboxes.local.zygote_wall import ZygoteConfig
from sandboxes.protocol import SandboxFailed, SandboxUnavailable
from sandboxes.toolchain import Toolchain
from schemas.limits import SandboxLimits

_COLD: Mapping[Flavour, str] = {
    "plain": "Python starts cold each time",
    "heavy": "Python imports numpy, pandas and the like each time",
}
_PROCESSES_MAX = 32_768
"""Of a child's user namespace, for good; its control group, or its order, limits it lower."""


_MAKING = GroupLimits(memory_bytes_max=32 * 1024 * 1024, pids_max=2, cpus=0.25)
"""What a child needs to get ready, and that soon: no guess is lower."""


@dataclass(frozen=True, slots=True)
class WarmGuest:
    """A child with the group it is in and the user who owns its files, as the host counts."""

    child: Child
    group: Group | None
    uid: int
    cpu_s_before: float
    """What the account had of it when it was ready."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """The group of a child that waits, if there are groups."""

    group: Group | None
    limits: GroupLimits
    cpu_s: float


class WarmPython:
    """A pool of children and their groups."""

    def __init__(
        self,
        config: LocalConfig,
        launcher: Launcher,
        hierarchy: Hierarchy | None,
        python: Toolchain,
        uid: int | None,
    ) -> None:
        self._hierarchy = hierarchy
        self._uid = uid or 0
        self._usual = group_limits(SandboxLimits())
        self._groups: dict[Child, _Standing] = {}
        self._spare: list[Group] = []
        self._is_closed = False
        self._spare_max = config.warm_plain + config.warm_heavy
        self._pool = ZygotePool(_pool_config(config, launcher, python, uid, self))

    async def start(self) -> None:
        """Warm up; what cannot be warm now will be later, and `notes` say so till then."""
        await self._pool.start()

    @property
    def notes(self) -> Sequence[str]:
        """What is not warm now, and why."""
        return [f"{_COLD[flavour]}; it is tried again: {why}" for flavour, why in self._pool.troubles.items()]

    @property
    def grouped(self) -> bool:
        """Whether control groups limit the children."""
        return self._hierarchy is not None

    @property
    def ready(self) -> int:
        """How many children wait."""
        return sum(self._pool.ready.values())

    async def take(self, code: str, limits: GroupLimits) -> WarmGuest | None:
        """Take a child for `code`, within `limits`; None if none can be had now."""
        flavour: Flavour = flavour_of(code, self._pool.warm_modules)
        try:
            child = await self._pool.take(flavour)
        except (SandboxFailed, SandboxUnavailable, OSError):
            return None
        limits = replace(limits, pids_max=limits.pids_max - INIT_PROCESSES)  # ours is in another group
        if _is_enough(limits):
            self._usual = limits
        at = self._groups.pop(child)
        if at.group is None or at.limits == limits:
            return WarmGuest(child, at.group, self._uid, at.cpu_s)
        try:
            moving = partial(self._move, child, at.group, limits)
            group = await made_in_thread(moving, lambda group: group.remove())
        except BaseException:
            await child.close()
            raise
        return WarmGuest(child, group, self._uid, 0.0)

    async def make(self, zygote: Zygote) -> Child:
        """Have a child made that is in a group with the usual limits from its beginning."""
        await self._sweep()
        limits = self._usual
        if self._hierarchy is None:
            child = await zygote.make()
            self._groups[child] = _Standing(None, limits, cpu_s_of(child.pid))
            return child
        group = await self._group(limits)
        try:
            child = await zygote.make(group.doors())
        except BaseException:
            await asyncio.to_thread(group.remove)
            raise
        self._groups[child] = _Standing(group, limits, group.cpu_s())
        return child

    async def _group(self, limits: GroupLimits) -> Group:
        """Return a group that is empty: one that was used before and renewed, if there is one."""
        assert self._hierarchy, "asked only where there are groups"
        while self._spare:
            group = self._spare.pop()
            if group.limits == limits:
                return group
            await asyncio.to_thread(group.remove)
        making = partial(self._hierarchy.make, new_name(), limits)
        return await made_in_thread(making, lambda group: group.remove())

    async def leave(self, group: Group) -> None:
        """Take back a group whose execution is over: to make one costs as much as all namespaces."""
        if len(self._spare) < self._spare_max and not self._is_closed and group.renew():
            self._spare.append(group)
        else:
            await asyncio.to_thread(group.remove)

    async def close(self) -> None:
        """End all children and remove the groups of those that nobody took."""
        self._is_closed = True
        await self._pool.close()
        await self._sweep()
        await self.remove_spare_groups()

    async def remove_spare_groups(self) -> None:
        """Keep none for the next children."""
        while self._spare:
            await asyncio.to_thread(self._spare.pop().remove)

    async def _sweep(self) -> None:
        """Remove the groups of children that ended unused."""
        for child in [child for child in self._groups if not child.is_alive]:
            if group := self._groups.pop(child).group:
                await asyncio.to_thread(group.remove)

    def _move(self, child: Child, before: Group, limits: GroupLimits) -> Group:
        assert self._hierarchy, "it made the group before"
        group = self._hierarchy.make(new_name(), limits)
        try:
            group.join(child.pid)
        except OSError:
            group.remove()
            raise
        finally:
            before.remove()
        return group


def _is_enough(limits: GroupLimits) -> bool:
    return (
        limits.memory_bytes_max >= _MAKING.memory_bytes_max
        and limits.pids_max >= _MAKING.pids_max
        and limits.cpus >= _MAKING.cpus
    )


def group_limits(limits: SandboxLimits) -> GroupLimits:
    """Return what of `limits` a control group enforces."""
    return GroupLimits(memory_bytes_max=limits.memory_bytes_max, pids_max=limits.pids_max, cpus=limits.cpus)


def _pool_config(
    config: LocalConfig, launcher: Launcher, python: Toolchain, uid: int | None, warm: WarmPython
) -> PoolConfig:
    zygote = ZygoteConfig(
        bwrap=launcher.bwrap,
        python=python.recipe.run[0],
        interpreter_options=_options(python.recipe.run),
        uid=uid,
        host_paths=(*launcher.host_paths, *python.binds),
        environment={**environment(config.path), **python.recipe.env},
        disk_bytes_max=config.disk_bytes_max,
        pids_max=_PROCESSES_MAX,
        watch_memory=not warm.grouped,
        start_timeout_s=config.start_timeout_s,
    )
    ready: dict[Flavour, int] = {"plain": config.warm_plain}
    if config.warm_heavy:
        ready["heavy"] = config.warm_heavy
    return PoolConfig(zygote=zygote, ready=ready, make=warm.make)


def _options(run: Sequence[str]) -> Sequence[str]:
    """Return what stands between Python and the script in the recipe's command line."""
    return tuple(run[1 : run.index("{source}")])
