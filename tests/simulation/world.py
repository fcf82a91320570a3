"""One seed's world: publishers, handlers, accidents, readers; and what must be true afterwards."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from schemas.commands import CancelExecution
from schemas.digest import digest_of
from schemas.events import AnyEvent, Finished, Started
from schemas.ids import ExecutionId
from schemas.wire import decode_event, decode_result, encode
from streams.memory import MemoryTransport
from streams.protocol import DeliveryPolicy
from tests.simulation.coverage import Coverage
from tests.simulation.fairness import WatchedBroker
from tests.simulation.plan import AT_RANDOM, Accident, Aim, Job, Plan, draw
from tests.simulation.process import CrashedEdge, Edge, Process, Surroundings
from tests.simulation.sessions import check_sessions, output_of
from tests.simulation.virtual_time import run_virtually

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = DeliveryPolicy(lease_s=15.0, attempts_max=3)
PATIENCE_S = 3600.0
"""By then everything must have ended: far more than all leases, attempts and programs together."""


def simulate(seed: int, aim: Aim = AT_RANDOM) -> Coverage:
    """Run the world of `seed` and check every invariant; return what it came across.

    Raises `AssertionError` naming the seed, and what was aimed at.
    """
    world = World(draw(seed, EPOCH, aim))
    try:
        run_virtually(world.run())
    except AssertionError as broken:
        where = f" with a {aim.kind} at {aim.step!r}" if aim.step else ""
        raise AssertionError(f"seed {seed}{where}: {broken}") from broken
    return world.coverage


class World:
    """Everything that lives in one run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._broker = WatchedBroker(EPOCH)
        self._around = Surroundings(self._broker, plan, POLICY)
        self.coverage = self._around.coverage
        self._reader = MemoryTransport(self._broker, POLICY)
        self._handlers: list[Process] = []
        self._read: dict[str, list[AnyEvent]] = {}
        self._replacing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Let it happen, wait until it is over, and look."""
        self._broker.now()
        self._edge = Edge(self._around)
        self._handlers = [self._new_handler(index) for index in range(self._plan.handlers)]
        happening = [
            *(self._publish(job) for job in self._plan.jobs),
            *(self._cancel(job, at_s) for job in self._plan.jobs for at_s in job.cancels_at_s),
            *(self._befall(accident) for accident in self._plan.accidents),
            *(self._follow(job) for job in self._plan.jobs),
        ]
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*happening)
                await self._until_acknowledged()
                for handler in self._handlers:
                    await handler.stop()
        except TimeoutError:
            unfinished = [job.command.id for job in self._plan.jobs if not self._is_finished(job)]
            raise AssertionError(f"never ended: {unfinished or 'the handlers'}") from None
        self._check()

    def _new_handler(self, index: int) -> Process:
        return Process(self._around, self._plan.skews_s[index], lambda: self._replace(index))

    def _replace(self, index: int) -> None:
        """Put another process into the place of one that died, a while later."""

        async def later() -> None:
            await asyncio.sleep(self._plan.dice.choice([0.05, 1.0, 10.0, 20.0, 45.0]))
            self._handlers[index] = self._new_handler(index)

        replacing = asyncio.create_task(later())
        self._replacing.add(replacing)
        replacing.add_done_callback(self._replacing.discard)

    async def _publish(self, job: Job) -> None:
        await asyncio.sleep(job.at_s)
        self.coverage["published twice"] += job.copies > 1
        self.coverage["published by hand"] += job.bare
        for _ in range(job.copies):
            if job.bare:
                self._broker.publish(encode(job.command))
            else:
                await self._ask_edges("submit", job.command, digest_of(job.command))
            await asyncio.sleep(self._plan.dice.choice([0.0, 0.5, 20.0]))

    async def _cancel(self, job: Job, at_s: float) -> None:
        await asyncio.sleep(at_s)
        assert job.command.id is not None
        self.coverage["cancelled before it was published"] += at_s < job.at_s
        self.coverage["cancelled twice"] += at_s != job.cancels_at_s[0]
        await self._ask_edges("send", CancelExecution(execution_id=job.command.id, reason="not wanted"))

    async def _ask_edges(self, call: str, *args: Any) -> None:
        """Ask until one answers, as a client does whose connection broke: nobody knows what came of it."""
        while True:
            edge = self._edge
            try:
                return await getattr(edge, call)(*args)
            except CrashedEdge:
                self.coverage["edge asked again"] += 1
            await asyncio.sleep(self._plan.dice.choice([0.0, 0.5, 5.0]))
            if self._edge.is_dead:
                self._edge = Edge(self._around)

    async def _befall(self, accident: Accident) -> None:
        await asyncio.sleep(accident.at_s)
        victim = self._handlers[accident.handler]
        if victim.is_dead:
            return
        if accident.kind == "pause":
            self.coverage["paused"] += 1
            await victim.pause(accident.for_s)
        else:
            self.coverage["killed"] += 1
            victim.kill()

    async def _follow(self, job: Job) -> None:
        """Read the log as a client that loses its connection now and then and comes back."""
        assert job.command.id is not None
        events = self._read.setdefault(job.command.id, [])
        while not (events and isinstance(events[-1], Finished)):
            async with self._reader.follow(job.command.id, after=len(events)) as batches:
                async for batch in batches:
                    events += [decode_event(event.data) for event in batch]
                    if self._plan.dice.random() < 0.3:
                        break

    async def _until_acknowledged(self) -> None:
        while self._broker.entries or self._broker.parked or self._replacing:
            await asyncio.sleep(1.0)

    def _is_finished(self, job: Job) -> bool:
        events = self._read.get(job.command.id or "", [])
        return bool(events) and isinstance(events[-1], Finished)

    def _is_over(self, execution_id: ExecutionId) -> bool:
        execution = self._broker.execution(execution_id)
        return execution is not None and execution.status == "finished"

    # What must be true afterwards

    def _check(self) -> None:
        assert not self._broker.unfair, self._broker.unfair[0]
        self._results = Counter[str]()
        for line in self._broker.results:
            result = decode_result(line)
            self._results[result.execution_id] += 1
        for job in self._plan.jobs:
            self._check_job(job, self._read[job.command.id or ""])
        check_sessions(self._plan.jobs, self._broker, self._read, self._around.states)
        in_line = {name for line in self._broker.lines.values() for name in line}
        unfinished = [name for name in in_line if not self._is_over(name)]
        assert not unfinished, f"left in line: {unfinished}"
        for handler in self._handlers:
            if handler.is_dead:  # it was the last that happened
                continue
            assert not handler.sandboxes.open, "a sandbox was left open"
            assert len(handler.registry) == 0, "an execution was left registered"
            assert handler.running_most <= self._plan.slots, "more ran at once than there are slots"

    def _check_job(self, job: Job, events: list[AnyEvent]) -> None:
        name = job.command.id or ""
        assert [event.seq for event in events] == list(range(1, len(events) + 1)), f"{name}: seq has a gap"
        ends = [event for event in events if isinstance(event, Finished)]
        assert len(ends) == 1 and events[-1] is ends[0], f"{name}: {len(ends)} outcomes"
        assert self._results[name] >= 1, f"{name}: no result was published"
        self.coverage[f"outcome {ends[0].outcome}"] += 1
        self._check_attempts(job, events)
        self._check_output(job, events, ends[0])

    def _check_attempts(self, job: Job, events: list[AnyEvent]) -> None:
        name, runs = job.command.id or "", self._around.runs.count(job.command.id or "")
        attempts = [event.attempt for event in events if isinstance(event, Started)]
        assert all(one < two for one, two in pairwise(attempts)), f"{name}: attempts {attempts}"
        assert runs <= len(attempts), f"{name}: ran {runs} times, told of {len(attempts)}"
        most = POLICY.attempts_max if job.command.retry == "always" else 1
        assert runs <= most, f"{name}: ran {runs} times with retry {job.command.retry}"

    def _check_output(self, job: Job, events: list[AnyEvent], finished: Finished) -> None:
        name = job.command.id or ""
        last_start = max((event.seq for event in events if isinstance(event, Started)), default=0)
        heard = output_of(events)
        if job.session and last_start:
            heard = heard.partition(b"\n")[2]  # the first line says whose variables were there
        assert job.says.startswith(heard), f"{name}: heard {heard!r}, not part of {job.says!r}"
        if finished.outcome in ("exited", "killed"):
            assert heard == job.says, f"{name}: {finished.outcome}, but of {job.says!r} only {heard!r}"
        if finished.outcome in ("expired", "rejected"):
            assert not last_start, f"{name}: {finished.outcome}, but it was started"
