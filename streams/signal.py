"""Waiting until something changes, without polling and without missing a change."""

import asyncio


class Signal:
    """Take a `ticket`, look at the state, then wait on the ticket: no change in between is missed."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ticket(self) -> asyncio.Event:
        """Return an event that the next `notify` sets."""
        return self._next

    def notify(self) -> None:
        """Wake everybody who took a ticket."""
        woken, self._next = self._next, asyncio.Event()
        woken.set()
