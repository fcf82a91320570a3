"""Children kept ready, for each flavour of zygote as many as wanted; zygotes replaced when due.

A child is taken once and never comes back. Zygotes are recycled by count and age, since all children of one
share its hash seed and memory layout, and replaced when they crash; what they made lives on until it is done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sandboxes.local.zygote import Zygote
from sandboxes.local.zygote_child import Child
from sandboxes.local.zygote_nursery import Nursery
from sandboxes.local.zygote_routing import HEAVY_MODULES, Flavour
from sandboxes.local.zygote_wall import ZygoteConfig


async def _ask(zygote: Zygote) -> Child:
    """Ask a zygote for a child, nothing else."""
    return await zygote.make()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How many of what, and for how long."""

    zygote: ZygoteConfig
    ready: Mapping[Flavour, int]
    """How many children of each flavour wait; a flavour that is not named does not exist."""
    modules: Sequence[str] = HEAVY_MODULES
    """What the heavy zygote imports."""
    children_max: int = 2_000
    """A zygote that has made so many is replaced."""
    age_s_max: float = 900.0
    """So is one that is so old and has made any."""
    make: Callable[[Zygote], Awaitable[Child]] = field(default=_ask)
    """How a child is had from its zygote, such as in a control group of its own."""
    retry_s: float = 0.5
    """Pause after a child could not be made; pauses between zygotes grow from a second to a minute."""
    heavy_retry_s: float = 30.0
    """The least pause before another heavy zygote is started, which takes seconds of CPU."""
    steady_after_s: float = 10.0
    """A zygote that crashes after so long is replaced at once, an earlier one after such a pause."""


class ZygotePool:
    """Where warm children come from."""

    def __init__(self, config: PoolConfig) -> None:
        self._nurseries = {flavour: Nursery(config, flavour) for flavour in config.ready}

    async def start(self) -> None:
        """Start the zygotes, and wait until each has one child ready.

        A busy host may have no time for one of them now; then it comes later, and `troubles` tells why.
        """
        try:
            for nursery in self._nurseries.values():
                await nursery.start()
        except BaseException:
            await self.close()
            raise

    @property
    def warm_modules(self) -> Sequence[str]:
        """What the heavy zygote has imported; empty if there is none."""
        return self._nurseries["heavy"].modules if "heavy" in self._nurseries else ()

    @property
    def ready(self) -> Mapping[Flavour, int]:
        """How many children wait now."""
        return {flavour: nursery.ready for flavour, nursery in self._nurseries.items() if nursery.is_open}

    @property
    def troubles(self) -> Mapping[Flavour, str]:
        """Which flavours have no children to give now, and why. They are tried again all the time."""
        troubles = {
            flavour: nursery.trouble for flavour, nursery in self._nurseries.items() if nursery.is_open
        }
        return {flavour: why for flavour, why in troubles.items() if why}

    async def take(self, flavour: Flavour = "plain") -> Child:
        """Take a child that nobody has used; `Child.close` it in the end.

        Without a heavy zygote a plain child is given. Raises `SandboxUnavailable` if no zygote stands (at
        once) or no child can be made now, `SandboxFailed` if its making went wrong.
        """
        nursery = self._nurseries.get(flavour)
        if nursery is None or not (nursery.stands or nursery.ready):
            nursery = self._nurseries["plain"]
        return await nursery.take()

    async def close(self) -> None:
        """End all children and zygotes. Safe to call twice."""
        await asyncio.gather(*(nursery.close() for nursery in self._nurseries.values()))
