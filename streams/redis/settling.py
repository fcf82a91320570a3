"""What follows a `finished` in the log where no single script reaches it all, or after a crash in between.

Result and reply are published before the entry is acknowledged, so a crash repeats them and never
loses them: results are at least once.
"""

from redis.exceptions import ResponseError

from schemas.commands import RunCode
from schemas.events import Finished
from schemas.wire import decode_event, encode
from streams.delivery import log, result_line
from streams.protocol import Delivery
from streams.redis.link import Link
from streams.redis.requests import acknowledge
from streams.topology import DATA


async def settle(link: Link, delivery: Delivery, result: bytes, *replies: tuple[str, bytes]) -> None:
    """Publish the result and replies, each (stream, event), and acknowledge."""
    await link.persist(lambda: link.add(link.topology.results, {DATA: result}, link.policy.results_max))
    for stream, finished in replies:
        await _reply(link, stream, finished)
    await link.persist(lambda: acknowledge(link, delivery.stream, delivery.entry))


async def settle_execution(
    link: Link, delivery: Delivery, command: RunCode, finished: Finished, *others: str
) -> None:
    """Settle an execution whose `finished` is in its log, and note in its record that this is done.

    `others` are entries of it that are to be acknowledged as well.
    """
    assert command.id is not None, "an execution needs its id"
    replies = [(command.reply_to, encode(finished))] if command.reply_to else []
    await settle(link, delivery, result_line(finished, command.tenant), *replies)
    for entry in others:
        await link.persist(lambda entry=entry: acknowledge(link, delivery.stream, entry))  # type: ignore[misc]
    record = link.topology.record(command.id)
    await link.persist(lambda: link.call("HSET", record, "settled", 1))


async def settle_again(link: Link, delivery: Delivery, command: RunCode) -> None:
    """Do for an ended execution what its handler may not have come to."""
    assert command.id is not None, "an execution needs its id"
    key = link.topology.log(command.id)
    newest = await link.persist(lambda: link.call("XREVRANGE", key, "+", "-", "COUNT", 1))
    finished = decode_event(newest[0][1][DATA.encode()]) if newest else None
    if isinstance(finished, Finished):
        await settle_execution(link, delivery, command, finished)
    else:  # the log expired just now
        await link.persist(lambda: acknowledge(link, delivery.stream, delivery.entry))


async def _reply(link: Link, stream: str, finished: bytes) -> None:
    try:
        await link.persist(lambda: link.add(stream, {DATA: finished}, link.policy.results_max))
    except ResponseError as error:  # a name of the publisher's choice, which may be anything
        log.warning("reply_not_written", stream=stream, reason=str(error))
