"""Taking a sandbox: before the lease where one is ready, or after it, with patience, where none is.

Lease and `started` then are one step of the broker instead of two. What waits for its turn, wants files, may
not run any more or was heard of before takes its lease first: then a sandbox might be taken in vain.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog

from handlers.execution import Execution
from handlers.verdict import is_expired
from sandboxes.protocol import Sandbox, Sandboxes, SandboxSpec, SandboxUnavailable
from schemas.commands import RunCode
from schemas.events import Started
from schemas.languages import find_language
from schemas.limits import SandboxLimits
from streams.protocol import Delivery
from streams.turns import must_ask

log = structlog.get_logger(__name__)

_AFTER_QUEUED = 2
"""Where `started` stands in the log of a first attempt."""


@dataclass(slots=True)
class Ahead:
    """A sandbox that was taken before the lease, if any, and the `started` that is to be said of it."""

    sandbox: Sandbox | None = None
    started: Started | None = None

    def take_out(self) -> Sandbox | None:
        """Return the sandbox to whoever runs the code, and closes it, in the end."""
        sandbox, self.sandbox = self.sandbox, None
        return sandbox

    async def close(self) -> None:
        """Destroy what nobody took out."""
        if sandbox := self.take_out():
            await sandbox.close()


class Taker:
    """Takes sandboxes as the operator lets executions have them."""

    def __init__(
        self,
        sandboxes: Sandboxes,
        limits: SandboxLimits,
        now: Callable[[], datetime],
        *,
        network: bool,
        patience_s: float,
    ) -> None:
        self._sandboxes = sandboxes
        self._limits = limits
        self._now = now
        self._network = network
        self._patience_s = patience_s

    async def at_once(self, delivery: Delivery, command: RunCode) -> Ahead:
        """Take a sandbox for what is about to be begun, if one is ready and nothing is in the way."""
        spec = self._spec(command)
        if not self._may_come_first(delivery, command) or not self._sandboxes.is_ready(spec):
            return Ahead()
        try:
            sandbox = await self._sandboxes.acquire(spec)
        except Exception as failed:  # noqa: BLE001 - it is tried again, and told, under the lease
            log.debug("no_sandbox_ahead", execution_id=command.id, reason=str(failed))
            return Ahead()
        return Ahead(sandbox, self.started(command, sandbox, 1, _AFTER_QUEUED))

    async def patiently(self, execution: Execution) -> Sandbox | None:
        """Take a sandbox; None if the execution was cancelled or expired while none could be had."""
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._patience_s
        while not self.is_unwanted(execution):
            try:
                return await self._sandboxes.acquire(self._spec(execution.command))
            except SandboxUnavailable as away:
                if clock() + away.retry_after_s > give_up_at:
                    raise
                with suppress(TimeoutError):
                    await asyncio.wait_for(execution.running.cancelled.wait(), away.retry_after_s)
        return None

    def is_unwanted(self, execution: Execution) -> bool:
        """Whether an execution may not start any more."""
        expired = is_expired(execution.command, execution.running.attempt, self._now())
        return expired or execution.running.cancelled.is_set()

    def started(self, command: RunCode, sandbox: Sandbox, attempt: int, seq: int = 0) -> Started:
        """Return what is said of an attempt whose code is about to run in `sandbox`."""
        assert command.id is not None, "admitted before"
        return Started(
            execution_id=command.id,
            seq=seq,
            time=self._now(),
            attempt=attempt,
            sandbox=sandbox.kind,
            language=_code_of(command),
        )

    def _may_come_first(self, delivery: Delivery, command: RunCode) -> bool:
        return (
            delivery.deliveries == 1
            and not command.files
            and not must_ask(command)
            and not is_expired(command, 0, self._now())
        )

    def _spec(self, command: RunCode) -> SandboxSpec:
        assert command.id is not None, "admitted before"
        return SandboxSpec(
            execution_id=command.id,
            language=_code_of(command),
            limits=self._limits.lowered_by(command.limits),
            network=self._network,
            code=command.code,
            check_types=command.check_types,
        )


def _code_of(command: RunCode) -> str:
    language = find_language(command.language)
    assert language is not None, "admitted before"
    return language.code
