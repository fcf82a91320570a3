"""Measuring how much waits on Redis."""

import asyncio

from redis.exceptions import ResponseError

from schemas.ids import TenantId
from streams.depth import TENANTS_TOLD_MAX, QueueDepth
from streams.redis.link import Link
from streams.redis.scripts import DEPTH


async def measure_depth(link: Link) -> QueueDepth:
    """Return how much waits. What nobody was handed yet is sorted into lanes on the way."""
    names = link.topology
    measured, parked, finished = await asyncio.gather(
        link.run(DEPTH, [names.requests, names.lanes], [TENANTS_TOLD_MAX]),
        link.call("ZCARD", names.parked),
        _results_ever(link),
    )
    unsorted, interactive, batch, pending, oldest_ms, tenants = measured
    counted = zip(tenants[::2], tenants[1::2], strict=True)
    return QueueDepth(
        waiting=unsorted + interactive + batch + parked,
        pending=pending,
        parked=parked,
        priorities={"interactive": interactive + unsorted, "batch": batch},
        tenants={TenantId(name.decode()): int(float(count)) for name, count in counted},
        oldest_s=oldest_ms / 1000,
        finished=finished,
    )


async def _results_ever(link: Link) -> int:
    """Return how many results were ever written, those trimmed since among them."""
    try:
        about = await link.call("XINFO STREAM", link.topology.results)
    except ResponseError:  # there was none yet
        return 0
    return int(about.get("entries-added", 0))
