"""One seed's world: publishers, handlers, accidents, readers; and what must be true afterwards."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

from schemas.commands import CancelExecution
from schemas.digest import digest_of
from schemas.events import AnyEvent, Finished, Output, Started
from schemas.wire import decode_event, decode_result, encode
from streams.memory import MemoryTransport
from streams.protocol import DeliveryPolicy
from tests.simulation.fairness import WatchedBroker
from tests.simulation.plan import Accident, Job, Plan, draw
from tests.simulation.process import Process
from tests.simulation.virtual_time import run_virtually

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = DeliveryPolicy(lease_s=15.0, attempts_max=3)
PATIENCE_S = 3600.0
"""By then everything must have ended: far more than all leases, attempts and programs together."""


def simulate(seed: int) -> None:
    """Run the world of `seed` and check every invariant. Raises `AssertionError` naming the seed."""
    try:
        run_virtually(World(draw(seed, EPOCH)).run())
    except AssertionError as broken:
        raise AssertionError(f"seed {seed}: {broken}") from broken


class World:
    """Everything that lives in one run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._broker = WatchedBroker(EPOCH)
        self._edge = MemoryTransport(self._broker, POLICY)
        self._runs: list[str] = []
        self._read: dict[str, list[AnyEvent]] = {}

    async def run(self) -> None:
        """Let it happen, wait until it is over, and look."""
        self._broker.now()
        self._handlers = [self._new_handler(index) for index in range(self._plan.handlers)]
        happening = [
            *(self._publish(job) for job in self._plan.jobs),
            *(self._cancel(job) for job in self._plan.jobs if job.cancel_at_s is not None),
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
        return Process(self._broker, self._plan, POLICY, self._plan.skews_s[index], self._runs)

    async def _publish(self, job: Job) -> None:
        await asyncio.sleep(job.at_s)
        for _ in range(job.copies):
            if job.bare:
                self._broker.publish(encode(job.command))
            else:
                await self._edge.submit(job.command, digest_of(job.command))
            await asyncio.sleep(self._plan.dice.choice([0.0, 0.5, 20.0]))

    async def _cancel(self, job: Job) -> None:
        await asyncio.sleep(job.cancel_at_s or 0.0)
        assert job.command.id is not None
        await self._edge.send(CancelExecution(execution_id=job.command.id, reason="not wanted"))

    async def _befall(self, accident: Accident) -> None:
        await asyncio.sleep(accident.at_s)
        victim = self._handlers[accident.handler]
        if accident.kind == "pause":
            await victim.pause(accident.for_s)
            return
        await victim.kill()
        await asyncio.sleep(accident.for_s)
        if self._handlers[accident.handler] is victim:
            self._handlers[accident.handler] = self._new_handler(accident.handler)

    async def _follow(self, job: Job) -> None:
        """Read the log as a client that loses its connection now and then and comes back."""
        assert job.command.id is not None
        events = self._read.setdefault(job.command.id, [])
        while not (events and isinstance(events[-1], Finished)):
            async with self._edge.follow(job.command.id, after=len(events)) as batches:
                async for batch in batches:
                    events += [decode_event(event.data) for event in batch]
                    if self._plan.dice.random() < 0.3:
                        break

    async def _until_acknowledged(self) -> None:
        while self._broker.entries:
            await asyncio.sleep(1.0)

    def _is_finished(self, job: Job) -> bool:
        events = self._read.get(job.command.id or "", [])
        return bool(events) and isinstance(events[-1], Finished)

    # What must be true afterwards

    def _check(self) -> None:
        assert not self._broker.unfair, self._broker.unfair[0]
        self._results = Counter[str]()
        for line in self._broker.results:
            result = decode_result(line)
            self._results[result.execution_id] += 1
        for job in self._plan.jobs:
            self._check_job(job, self._read[job.command.id or ""])
        for handler in self._handlers:
            assert not handler.sandboxes.open, "a sandbox was left open"
            assert len(handler.registry) == 0, "an execution was left registered"
            assert handler.running_most <= self._plan.slots, "more ran at once than there are slots"

    def _check_job(self, job: Job, events: list[AnyEvent]) -> None:
        name = job.command.id or ""
        assert [event.seq for event in events] == list(range(1, len(events) + 1)), f"{name}: seq has a gap"
        ends = [event for event in events if isinstance(event, Finished)]
        assert len(ends) == 1 and events[-1] is ends[0], f"{name}: {len(ends)} outcomes"
        assert self._results[name] >= 1, f"{name}: no result was published"
        self._check_attempts(job, events)
        self._check_output(job, events, ends[0])

    def _check_attempts(self, job: Job, events: list[AnyEvent]) -> None:
        name, runs = job.command.id or "", self._runs.count(job.command.id or "")
        attempts = [event.attempt for event in events if isinstance(event, Started)]
        assert all(one < two for one, two in pairwise(attempts)), f"{name}: attempts {attempts}"
        assert runs <= len(attempts), f"{name}: ran {runs} times, told of {len(attempts)}"
        most = POLICY.attempts_max if job.command.retry == "always" else 1
        assert runs <= most, f"{name}: ran {runs} times with retry {job.command.retry}"

    def _check_output(self, job: Job, events: list[AnyEvent], finished: Finished) -> None:
        name = job.command.id or ""
        last_start = max((event.seq for event in events if isinstance(event, Started)), default=0)
        heard = b"".join(event.raw() for event in events[last_start:] if isinstance(event, Output))
        assert job.says.startswith(heard), f"{name}: heard {heard!r}, not part of {job.says!r}"
        if finished.outcome in ("exited", "killed"):
            assert heard == job.says, f"{name}: {finished.outcome}, but of {job.says!r} only {heard!r}"
        if finished.outcome in ("expired", "rejected"):
            assert not last_start, f"{name}: {finished.outcome}, but it was started"
