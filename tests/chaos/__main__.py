"""Real processes, a real broker, everything dies: `make chaos SECONDS=600 BROKER=sentinel SEED=7`.

One seed draws the work, the points at which handlers and edges die, and the troubles of the broker. It does
not replay a run to the instant, as the simulation does: real processes meet in other orders each time.
Afterwards everything is started once more without a doom, finishes what was accepted, and is stopped; then
the invariants are checked from the logs, and nothing may be left. Exit status 1 if anything was wrong.
"""

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import random
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import nats
from redis.exceptions import RedisError

from infra.errors import Unavailable
from infra.logs import configure_logs
from sandboxes.local.cgroups import own_places, owner_of
from streams.backoff import Backoff, repeated
from tests.chaos.brokers import KINDS, Servers
from tests.chaos.crew import Crew
from tests.chaos.doomed import EDGE_POINTS, FAULTS, HANDLER_POINTS
from tests.chaos.load import Job, Load
from tests.chaos.verdict import Story, contradictions, summary, violations

SETTLE_S = 90.0
FORGOTTEN_MAX = 0.05
"""How many of all may have been told what a replaced primary took along; more were lost by something else."""
AWAY = (Unavailable, RedisError, nats.errors.Error, OSError)
T = TypeVar("T")


async def run(options: argparse.Namespace) -> int:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)  # and leave nothing behind
    dice = random.Random(options.seed)
    servers = KINDS[options.broker](random.Random(dice.random()))
    crew: Crew | None = None
    try:
        await servers.start()
        crew = Crew(servers.settings, random.Random(dice.random()), fault=options.fault)
        stories, wrong = await _live(servers, crew, random.Random(dice.random()), options.seconds)
        wrong += violations(stories, functools.partial(_may_forget, servers))
        return _tell(options, servers, crew, stories, wrong)
    finally:
        if crew is not None:
            await crew.end()
        await servers.close()


async def _live(
    servers: Servers, crew: Crew, dice: random.Random, seconds: float
) -> tuple[list[Story], list[str]]:
    """Let everything happen; return what became of each execution, and what went wrong besides."""
    afterwards = servers.afterwards
    load = Load(dice, crew.urls, afterwards.publish)
    async with crew.dying() as lives:
        async with asyncio.timeout(SETTLE_S):
            await crew.first_up()
        loading = asyncio.create_task(load.for_ever())
        enough = asyncio.Event()
        trouble = asyncio.create_task(_trouble(servers, dice, enough))
        await asyncio.wait([loading, trouble, *lives], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await _ended(loading)
        enough.set()  # half a failover is no state to leave a broker in
        async with asyncio.timeout(SETTLE_S):
            await trouble
    await load.all_seen(SETTLE_S)
    wrong = load.complaints
    if not await afterwards.settled(SETTLE_S):
        wrong.append(f"work was left on the requests for {SETTLE_S:g} s")
    await crew.end()
    results = await _patiently(afterwards.results)
    stories = [
        Story(job, await _patiently(functools.partial(afterwards.log, job.id)), results[job.id])
        for job in load.jobs
    ]
    forgotten = _forgotten(stories, servers)
    if forgotten:
        print(f"{len(forgotten)} were told what went with a primary that was replaced")
    if len(forgotten) > FORGOTTEN_MAX * len(stories):
        wrong.append(f"{len(forgotten)} of {len(stories)} went with primaries: that is no second of each")
    wrong += [f"{name} was not seen to its end" for name in sorted(load.unseen - forgotten)]
    wrong += [
        *crew.complaints,
        *await _patiently(afterwards.left_behind),
        *crew.left_behind(),
        *_groups(crew.born),
    ]
    await afterwards.close()
    return stories, wrong


async def _patiently(look: Callable[[], Awaitable[T]]) -> T:
    """Return what was seen: on a busy machine servers lose sight of one another also when all is over."""
    return await repeated(look, SETTLE_S, AWAY, Backoff("afterwards").pause)


def _may_forget(servers: Servers, job: Job) -> bool:
    """Whether a primary that was replaced may have taken along what this job's clients were told."""
    told_at = [*job.told_at, *([job.accepted_at] if job.accepted_at else ())]
    return any(servers.may_forget(at) for at in told_at)


def _forgotten(stories: Sequence[Story], servers: Servers) -> set[str]:
    """Return the jobs whose clients were told what went with a primary."""
    contradicted = [story.job for story in stories if any(contradictions(story))]
    return {job.id for job in contradicted if _may_forget(servers, job)}


async def _trouble(servers: Servers, dice: random.Random, enough: asyncio.Event) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(enough.wait(), dice.uniform(8, 20))
        if enough.is_set():
            return
        await servers.trouble()


async def _ended(task: "asyncio.Task[None]") -> None:
    """End a task; what it failed of is raised."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _groups(born: set[tuple[int, int]]) -> list[str]:
    """Return the control groups that handlers of this run made and nobody removed."""
    tops = {place.top.resolve() for place in own_places().values()}
    names = ((path, name) for top in tops for path, folders, _ in os.walk(top) for name in folders)
    return [f"control group {path}/{name}" for path, name in names if owner_of(name) in born]


def _tell(
    options: argparse.Namespace, servers: Servers, crew: Crew, stories: Sequence[Story], wrong: list[str]
) -> int:
    print(f"\nchaos: broker={options.broker} seconds={options.seconds:g} seed={options.seed}")
    accepted = [story for story in stories if story.job.accepted_at]
    print(f"executions: {len(stories)} asked for, {len(accepted)} accepted")
    for name, counts in summary(stories).items():
        print(f"  {name}: {_counts(counts)}")
    print(f"broker: {_counts(servers.troubles) or 'no trouble'}")
    print(f"signals: {_counts(crew.signals)}")
    points = [*HANDLER_POINTS, *EDGE_POINTS]
    print(f"deaths at named points ({sum(point in crew.deaths for point in points)} of {len(points)}):")
    print(f"  {_counts(crew.deaths)}")
    for sentence in wrong[:40]:
        print(f"VIOLATED: {sentence}")
    print(f"{len(wrong)} violations; seed {options.seed}")
    if wrong and not options.fault:
        print(f"logs of the processes: {crew.folder}")
    else:
        shutil.rmtree(crew.folder, ignore_errors=True)
    return 1 if wrong else 0


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--broker", choices=list(KINDS), default="redis")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument(
        "--fault", choices=["", *FAULTS], default="", help="break a promise, to see it caught"
    )
    options = parser.parse_args()
    configure_logs(level="ERROR", json=False)
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # it tells every lost connection with a traceback
    print(f"chaos: broker={options.broker} seconds={options.seconds:g} seed={options.seed}", flush=True)
    began = time.monotonic()
    status = asyncio.run(run(options))
    print(f"took {time.monotonic() - began:.0f} s")
    return status


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main())
