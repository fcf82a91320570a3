"""Where one call of a transport is several steps on a real broker: time passes there, and processes die.

In memory nothing comes between two steps unless somebody asks for it: a simulation does, and so sees what
a crash there leaves to others. The steps are those of docs/delivery.md, as a cluster has to take them.
"""

from collections.abc import Awaitable, Callable

Between = Callable[[str], Awaitable[None]]
"""Awaited after a step was done and before the next one, with the name of the one done."""

STEPS = (
    "submit: recorded",
    "send: mailed",
    "send: told",
    "begin: in line",
    "begin: leased",
    "park: kept",
    "park: line looked at",
    "wake: published",
    "renew: held",
    "finish: logged",
    "finish: result told",
    "finish: replied",
    "finish: acknowledged",
    "finish: line left",
    "release: given back",
    "release: published",
    "reject: result told",
    "bury: kept",
)


async def at_once(_step: str) -> None:
    """Let nothing come between."""
