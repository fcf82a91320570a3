"""A handler process that can be killed or paused between any two steps, with its own wrong clock."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from handlers.run_code import RunCodeConfig, RunCodeHandler
from handlers.running import Registry
from sandboxes.fake import FakeSandbox, FakeSandboxes
from sandboxes.protocol import Program, SandboxSpec
from schemas.limits import SandboxLimits
from schemas.validate import Bounds
from streams.memory import MemoryBroker, MemoryTransport
from streams.protocol import DeliveryPolicy
from tests.simulation.plan import Plan

FAR_S = ("begin", "append", "finish", "renew", "release", "reject", "bury")
"""What crosses the network, and so can be late, or never come back."""


class Wire:
    """The network between one process and the broker: each crossing takes time, and may be the last."""

    def __init__(self, transport: MemoryTransport, plan: Plan) -> None:
        self._transport = transport
        self._plan = plan
        self._open = asyncio.Event()
        self._open.set()

    def close(self) -> None:
        """Let nothing through any more, in either direction."""
        self._open.clear()

    def reopen(self) -> None:
        """Let through what waits."""
        self._open.set()

    def __getattr__(self, name: str) -> Any:
        through = getattr(self._transport, name)
        return self._delayed(through) if name in FAR_S else through

    def _delayed(self, through: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **named: Any) -> Any:
            await self._cross()
            answer = await through(*args, **named)
            await self._cross()
            return answer

        return call

    async def _cross(self) -> None:
        await asyncio.sleep(self._plan.dice.choice([0.0, 0.001, 0.1, 2.0]))
        await self._open.wait()


class CountingSandboxes(FakeSandboxes):
    """Sandboxes that note which execution's code began to run, and how often."""

    def __init__(self, runs: list[str]) -> None:
        super().__init__()
        self._runs = runs

    async def acquire(self, spec: SandboxSpec) -> FakeSandbox:
        sandbox = await super().acquire(spec)
        run = sandbox.run

        def noted(program: Program) -> Any:
            self._runs.append(spec.execution_id)
            return run(program)

        sandbox.run = noted  # type: ignore[method-assign]
        return sandbox


class Process:
    """One life of a handler process."""

    def __init__(
        self, broker: MemoryBroker, plan: Plan, policy: DeliveryPolicy, skew_s: float, runs: list[str]
    ) -> None:
        self.transport = MemoryTransport(broker, policy)
        self.wire = Wire(self.transport, plan)
        self.sandboxes = CountingSandboxes(runs)
        self.registry = Registry()
        self.running = 0
        self.running_most = 0

        def now() -> datetime:
            return broker.now() + timedelta(seconds=skew_s)

        config = RunCodeConfig(bounds=Bounds(), limits=SandboxLimits(timeout_s=60.0), policy=policy)
        handler = RunCodeHandler(config, self.wire, self.sandboxes, _NoFiles(), self.registry, now)  # type: ignore[arg-type]

        async def on_delivery(delivery: Any) -> None:
            self.running += 1
            self.running_most = max(self.running_most, self.running)
            try:
                await handler.on_delivery(delivery)
            finally:
                self.running -= 1

        self._tasks = [
            asyncio.create_task(self.transport.consume(on_delivery, plan.slots)),
            asyncio.create_task(self.transport.listen(self.registry.on_control)),
        ]

    async def kill(self) -> None:
        """kill -9: whatever it was about to say is never said, and its sandboxes are gone."""
        self.wire.close()
        for sandbox in list(self.sandboxes.open):
            await sandbox.close()
        for task in self._tasks:
            task.cancel()
        self._reaping = asyncio.gather(*self._tasks, return_exceptions=True)

    async def pause(self, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after `for_s`."""
        self.wire.close()
        await asyncio.sleep(for_s)
        self.wire.reopen()

    async def stop(self) -> None:
        """SIGTERM: finish what runs, take nothing new."""
        self.transport.drain()
        consuming, listening = self._tasks
        await consuming
        listening.cancel()


class _NoFiles:
    """No job of the simulation has files."""
