"""A pretended program on its way to its end, against the clock and whoever cancels it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from sandboxes.fake_script import Ending, Player, Said
from sandboxes.protocol import SandboxFailed, ToolCalls

Played = Said | ToolCalls | Ending | SandboxFailed
CANCELLED = Ending("cancelled", None, None, "The program was cancelled.")


async def play_out(
    player: Player,
    say: Callable[[Played], Awaitable[None]],
    cancelled: asyncio.Event,
    timed_out: Coroutine[Any, Any, None],
    timeout_s: float,
) -> None:
    """Play to the end, the time limit or the cancel; how it ended is said last."""
    acting = asyncio.ensure_future(_act(player, say))
    cancelling = asyncio.ensure_future(cancelled.wait())
    clock = asyncio.ensure_future(timed_out)
    try:
        if not cancelled.is_set():
            await asyncio.wait((acting, cancelling, clock), return_when=asyncio.FIRST_COMPLETED)
        ending: Ending | SandboxFailed
        if cancelled.is_set():
            ending = CANCELLED
        elif acting.done():
            ending = acting.result()
        else:
            message = f"The program was stopped at its time limit of {timeout_s:g} s."
            ending = Ending("timed_out", None, "SIGKILL", message)
    finally:
        for task in (acting, cancelling, clock):
            task.cancel()
    await say(ending)


async def _act(player: Player, say: Callable[[Played], Awaitable[None]]) -> Ending | SandboxFailed:
    """Say all that is said; return how it ended."""
    try:
        async with aclosing(player.play()) as playing:
            async for said in playing:
                if isinstance(said, Ending):
                    return said
                await say(said)
    except SandboxFailed as failure:
        return failure
    raise AssertionError("a play has an ending")
