"""Something that counts its calls and stops for good before or after one of them: a crash at a step."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


class Steps:
    """Counts calls over all that it wraps. At step `at` it calls `crash`, and that call never returns."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._at = at
        self._after = after
        self.count = 0
        self.crash: Callable[[], object] = lambda: None
        self.over = False

    def wrap(self, thing: Any) -> Any:
        """Return a stand-in for `thing` whose coroutine methods are steps."""
        return _Stepped(thing, self)

    async def take(self, call: Callable[[], Any]) -> Any:
        """Make one call, unless this is the end."""
        self.count += 1
        is_it = self.count == self._at
        if self.over or (is_it and not self._after):
            await self._end()
        try:
            return await call()
        finally:
            if is_it:
                await self._end()

    async def _end(self) -> None:
        self.over = True
        self.crash()
        await asyncio.Event().wait()


class _Stepped:
    def __init__(self, thing: Any, steps: Steps) -> None:
        self._thing = thing
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._thing, name)
        if not inspect.iscoroutinefunction(member):
            return member

        async def stepped(*words: Any, **named: Any) -> Any:
            return await self._steps.take(lambda: member(*words, **named))

        return stepped
