"""Measuring how much waits on JetStream."""

import asyncio
from collections import Counter
from typing import Any

from streams.depth import TENANTS_TOLD_MAX, QueueDepth
from streams.jetstream.backlog import Backlog, frontier_of
from streams.jetstream.link import Link
from streams.jetstream.taking import READY_GROUP
from streams.lanes import PRIORITIES


async def measure_depth(link: Link, backlog: Backlog) -> QueueDepth:
    """Return how much waits. What nobody was handed yet is read for that, once."""
    requests, turns, results, frontier, ready = await asyncio.gather(
        link.info("REQUESTS"),
        link.info("TURNS", link.subjects.below("parked")),
        link.info("RESULTS"),
        frontier_of(link),
        frontier_of(link, READY_GROUP),
    )
    # Acknowledged entries leave a work queue, so what is there and not pending waits.
    pending = frontier.pending + ready.pending
    waiting = max(0, int(requests["state"]["messages"]) - pending)
    parked = sum((turns["state"].get("subjects") or {}).values())
    if waiting:
        await backlog.look(frontier)
        if frontier.waiting not in (len(backlog.known), -1):
            await backlog.compare()
    else:
        backlog.known.clear()
    return QueueDepth(
        waiting + parked,
        pending,
        parked,
        finished=int(results["state"]["last_seq"]),
        **await _whose(link, backlog),
    )


async def _whose(link: Link, backlog: Backlog) -> dict[str, Any]:
    """Return what is told of those that wait for a slot."""
    known = backlog.known.values()
    if not known:
        return {"priorities": dict.fromkeys(PRIORITIES, 0)}
    priorities = Counter(waiting.lane[0] for waiting in known)
    tenants = Counter(waiting.lane[1] for waiting in known)
    oldest = min(waiting.since for waiting in known)
    return {
        "priorities": {name: priorities[name] for name in PRIORITIES},
        "tenants": dict(tenants.most_common(TENANTS_TOLD_MAX)),
        "oldest_s": max(0.0, (await link.now() - oldest).total_seconds()),
    }
