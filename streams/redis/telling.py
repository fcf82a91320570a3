"""Telling inboxes where no script of an execution reaches them: on a cluster they live in other slots."""

import asyncio
from collections.abc import Sequence

from infra.redis import AWAY
from schemas.ids import ExecutionId
from streams.delivery import log
from streams.redis.link import Link
from streams.redis.scripts import TELL, Argument

INLINE_BYTES_MAX = 8 * 1024
INLINE_EVENTS_MAX = 64
"""Events up to these sizes travel in the message itself; of others it tells only the last seq."""
LEFT_ALONE_S = 5.0
"""For so long nothing is told to an inbox that was not reached: waiting for its node holds up every write."""


def inline(lines: Sequence[bytes]) -> int:
    """Return 1 if events are small enough to travel in the message itself, else 0."""
    return int(len(lines) <= INLINE_EVENTS_MAX and sum(map(len, lines)) <= INLINE_BYTES_MAX)


async def tell(
    link: Link, inboxes: Sequence[bytes], execution_id: ExecutionId, first: int, lines: Sequence[bytes]
) -> None:
    """Tell `inboxes` of events from seq `first` on, in the words of `news` in common.lua.

    A message that is lost costs its readers time: they look into the log now and then.
    """
    now = asyncio.get_running_loop().time
    message: list[Argument] = ["id", execution_id, "last", first + len(lines) - 1]
    if inline(lines):
        message += [part for seq, line in enumerate(lines, first) for part in (seq, line)]
    for inbox in inboxes:
        if link.unreached.get(inbox, 0.0) > now():
            continue
        try:
            await link.run(TELL, [inbox.decode()], message)
            link.unreached.pop(inbox, None)
        except AWAY as error:
            # Without those that are long over: edges come and go, each with an inbox of its own.
            link.unreached = {name: until for name, until in link.unreached.items() if until > now()}
            link.unreached[inbox] = now() + LEFT_ALONE_S
            log.warning("inbox_not_reached", broker=link.config.where(), error=str(error))
