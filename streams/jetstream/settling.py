"""What follows a `finished` in the log: the result, the reply, the acknowledgement, in this order.

A crash in between repeats them and never loses them; the server knows most repeats of a result by its id.
"""

import re

from schemas.commands import RunCode
from schemas.events import Finished
from schemas.ids import TenantId
from schemas.wire import encode
from streams.delivery import log, result_line
from streams.jetstream.link import Link
from streams.jetstream.requests import acknowledge
from streams.jetstream.wire import MESSAGE_ID
from streams.protocol import Delivery

_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")


async def settle(
    link: Link, delivery: Delivery, finished: Finished, tenant: TenantId, reply_to: str = ""
) -> None:
    """Publish the result and the reply, and acknowledge."""
    name = f"{finished.execution_id}:{finished.seq}:{finished.time.isoformat()}"
    line = result_line(finished, tenant)
    await link.persist(lambda: link.publish(link.subjects.results, line, {MESSAGE_ID: name}))
    if reply_to:
        await _reply(link, reply_to, finished)
    await acknowledge(link, delivery)


async def settle_execution(link: Link, delivery: Delivery, command: RunCode, finished: Finished) -> None:
    """Settle an execution whose `finished` is in its log."""
    await settle(link, delivery, finished, command.tenant, command.reply_to or "")


async def _reply(link: Link, subject: str, finished: Finished) -> None:
    """Publish to a subject of the publisher's choice, which may be anything, and need have no stream.

    The server handles it before the acknowledgement that follows on the same connection.
    """
    if _SUBJECT.fullmatch(subject) is None or subject.startswith("$"):
        log.warning("reply_not_written", subject=subject, reason="no subject to publish to")
        return
    await link.persist(lambda: link.send(subject, encode(finished)))
