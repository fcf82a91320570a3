"""Processes that can be killed or paused at any step, each with its own wrong clock: handlers and edges."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from handlers.run_code import RunCodeConfig, RunCodeHandler
from handlers.running import Registry
from handlers.state import States
from infra.errors import LeaseLost
from sandboxes.fake import FakeSandbox, FakeSandboxes
from sandboxes.protocol import Program, SandboxSpec
from schemas.limits import SandboxLimits
from schemas.validate import Bounds
from streams.memory import MemoryTransport
from streams.protocol import Begun, DeliveryPolicy, Ended, HeldElsewhere, Parked
from tests.simulation.coverage import EDGE_STEPS, HANDLER_STEPS, Coverage
from tests.simulation.fairness import WatchedBroker
from tests.simulation.plan import HORIZON_S, Plan
from tests.simulation.states import SharedStates, StatesOfProcess
from tests.simulation.wire import Doom, Wire

DOOMED = 0.5
"""How many processes die at a step that was drawn, unless something else befalls them first."""


class Surroundings:
    """What all processes of one world share."""

    def __init__(self, broker: WatchedBroker, plan: Plan, policy: DeliveryPolicy) -> None:
        self.broker = broker
        self.plan = plan
        self.policy = policy
        self.states = SharedStates()
        self.runs: list[str] = []
        """Which execution's code began to run, each time it did."""
        self.coverage = Coverage()

    def doom(self, steps: tuple[str, ...]) -> Doom | None:
        """Draw at which step a new process dies, if at any."""
        dice = self.plan.dice
        if asyncio.get_running_loop().time() > HORIZON_S:
            return None
        if step := self.plan.aim.step:
            return Doom(step, 1, self.plan.aim.kind) if step in steps else None
        return Doom(dice.choice(steps), dice.choice([1, 1, 2, 3])) if dice.random() < DOOMED else None


class CrashedEdge(Exception):
    """The connection to an edge broke, and nobody knows what it did."""


class Edge:
    """One life of an edge. Whoever asked it something when it dies asks another one."""

    def __init__(self, around: Surroundings) -> None:
        self._died = asyncio.Event()
        self._wire = Wire(around.plan, around.coverage, around.doom(EDGE_STEPS), self._die)
        self.transport = MemoryTransport(around.broker, around.policy, self._wire.between)

    @property
    def is_dead(self) -> bool:
        return self._died.is_set()

    async def submit(self, *args: Any) -> None:
        """Submit. Raises `CrashedEdge`."""
        await self._unless_it_dies(self._submit(*args))

    async def send(self, *args: Any) -> None:
        """Send a control command. Raises `CrashedEdge`."""
        await self._unless_it_dies(self.transport.send(*args))

    async def _submit(self, *args: Any) -> None:
        await self._wire.between("submit: sent")
        await self.transport.submit(*args)
        await self._wire.between("submit: answered")

    async def _unless_it_dies(self, work: Any) -> None:
        working, dying = asyncio.ensure_future(work), asyncio.ensure_future(self._died.wait())
        try:
            await asyncio.wait([working, dying], return_when=asyncio.FIRST_COMPLETED)
        finally:
            dying.cancel()
        if self.is_dead:
            working.cancel()
            raise CrashedEdge
        working.result()

    def _die(self) -> None:
        self._wire.tear()
        self._died.set()


class WatchedSandboxes(FakeSandboxes):
    """Sandboxes that note which execution's code began to run, and how often."""

    def __init__(self, runs: list[str], wire: Wire) -> None:
        super().__init__()
        self._runs = runs
        self._wire = wire

    async def acquire(self, spec: SandboxSpec) -> FakeSandbox:
        sandbox = await super().acquire(spec)
        run, close = sandbox.run, sandbox.close

        async def noted(program: Program) -> Any:
            self._runs.append(spec.execution_id)
            await self._wire.between("sandbox: run")
            async for frame in run(program):
                yield frame

        async def closed() -> None:
            await close()
            await self._wire.between("sandbox: closed")

        sandbox.run = noted  # type: ignore[method-assign]
        sandbox.close = closed  # type: ignore[method-assign]
        try:
            await self._wire.between("sandbox: taken")
        except asyncio.CancelledError:  # whoever is given up on the way to a sandbox gets none
            await close()
            raise
        return sandbox

    def vanish(self) -> None:
        """Be gone with the process they belong to."""
        self.open.clear()


class Process:
    """One life of a handler process."""

    def __init__(self, around: Surroundings, skew_s: float, on_death: Callable[[], None]) -> None:
        self._around = around
        self._on_death = on_death
        self.wire = Wire(around.plan, around.coverage, around.doom(HANDLER_STEPS), self.kill, self._doze)
        self.transport = self.wire.transport = MemoryTransport(
            around.broker, around.policy, self.wire.between
        )
        self.sandboxes = WatchedSandboxes(around.runs, self.wire)
        self.registry = Registry()
        self.running = 0
        self.running_most = 0
        self._dozing: set[asyncio.Task[None]] = set()
        handler = self._handler(skew_s)

        async def on_delivery(delivery: Any) -> None:
            around.coverage["delivered again"] += delivery.deliveries > 1
            self.running += 1
            self.running_most = max(self.running_most, self.running)
            try:
                await handler.on_delivery(delivery)
            finally:
                self.running -= 1

        self._tasks = [
            asyncio.create_task(self.transport.consume(on_delivery, around.plan.slots)),
            asyncio.create_task(self.transport.listen(self.registry.on_control)),
        ]

    def _handler(self, skew_s: float) -> RunCodeHandler:
        around = self._around
        around.coverage["clock wrong by more than a lease"] += abs(skew_s) > around.policy.lease_s

        def now() -> datetime:
            return around.broker.now() + timedelta(seconds=skew_s)

        config = RunCodeConfig(bounds=Bounds(), limits=SandboxLimits(timeout_s=60.0), policy=around.policy)
        states: Any = StatesOfProcess(around.states, self.wire, around.coverage, around.broker.history)
        consumer: Any = Noting(self.wire, around.coverage)
        files: Any = _NoFiles()
        return RunCodeHandler(
            config, consumer, self.sandboxes, files, self.registry, now, states=States(states, 1_000_000)
        )

    def kill(self) -> None:
        """kill -9: whatever it was about to say is never said, and its sandboxes are gone."""
        self.wire.tear()
        self.sandboxes.vanish()
        for task in self._tasks:
            task.cancel()
        self._on_death()

    async def pause(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after `for_s`."""
        self.wire.close()
        await asyncio.sleep(for_s)
        if not self.is_dead:
            self.wire.reopen()

    def _doze(self) -> None:
        """Be stopped where it is, and go on a while later."""
        dozing = asyncio.create_task(self.pause(self._around.plan.dice.choice([1.0, 20.0, 45.0])))
        self._dozing.add(dozing)
        dozing.add_done_callback(self._dozing.discard)

    @property
    def is_dead(self) -> bool:
        return self.wire.is_torn

    async def stop(self) -> None:
        """SIGTERM: finish what runs, take nothing new."""
        self.transport.drain()
        consuming, listening = self._tasks
        await asyncio.wait([consuming])
        if not self.is_dead:  # which may have happened in the meantime
            consuming.result()
        listening.cancel()


class Noting:
    """A consumer that notes what it is answered."""

    def __init__(self, wire: Wire, coverage: Coverage) -> None:
        self._wire = wire
        self._coverage = coverage

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._wire, name)

        async def noted(*args: Any, **named: Any) -> Any:
            try:
                answer = await call(*args, **named)
            except LeaseLost:
                self._coverage["lease lost"] += 1
                raise
            self._note(answer)
            return answer

        return noted

    def _note(self, answer: object) -> None:
        match answer:
            case Parked():
                self._coverage["parked"] += 1
            case HeldElsewhere():
                self._coverage["held elsewhere"] += 1
            case Ended():
                self._coverage["ended before"] += 1
            case Begun(over_limit=over_limit, overdue=overdue, mail=mail, has_started=has_started):
                self._coverage["started with its lease"] += has_started
                self._coverage["control came first"] += bool(mail)
                self._coverage["begun over the limit"] += over_limit
                self._coverage["overdue"] += overdue
            case _:
                pass


class _NoFiles:
    """No job of the simulation has files."""
