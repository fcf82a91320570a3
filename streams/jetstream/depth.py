"""Measuring how much waits on JetStream."""

import asyncio

from streams.depth import QueueDepth
from streams.jetstream.link import Link
from streams.jetstream.wire import CONSUMER_UNKNOWN, Refused
from streams.topology import HANDLERS_GROUP


async def measure_depth(link: Link) -> QueueDepth:
    """Return how much waits."""
    requests, turns, results, pending = await asyncio.gather(
        link.info("REQUESTS"),
        link.info("TURNS", link.subjects.below("parked")),
        link.info("RESULTS"),
        _pending(link),
    )
    # Acknowledged entries leave a work queue, so what is there and not pending waits.
    waiting = max(0, int(requests["state"]["messages"]) - pending)
    parked = sum((turns["state"].get("subjects") or {}).values())
    return QueueDepth(waiting + parked, pending, parked, finished=int(results["state"]["last_seq"]))


async def _pending(link: Link) -> int:
    stream = link.subjects.stream("REQUESTS")
    try:
        return int((await link.api(f"CONSUMER.INFO.{stream}.{HANDLERS_GROUP}"))["num_ack_pending"])
    except Refused as refused:
        if refused.code == CONSUMER_UNKNOWN:
            return 0
        raise
