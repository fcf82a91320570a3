"""The life of one execution: read this first.

An entry is admitted, its lease and its session's turn are taken; a sandbox is taken (just before the lease,
where one is ready), files and variables are put in, the code runs and every frame of its output is written to
the log; what it produced and what it remembers is stored, exactly one `finished` written and the entry
acknowledged, and the sandbox destroyed. Whoever loses the lease on the way stops at once, for another handler
decides now.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from handlers.admission import Admitted, Nameless, Refused, admit
from handlers.endings import (
    EXPIRED,
    concluded,
    not_wanted_any_more,
    rejection,
    sandbox_lost,
    unstarted,
)
from handlers.execution import Execution
from handlers.files import ExecutionFiles, Kept
from handlers.frames import run_program
from handlers.journal import Journal
from handlers.running import Registry
from handlers.sessions import enter_session
from handlers.state import ExecutionState, States, fence_off
from handlers.taking import Ahead, Taker
from handlers.verdict import is_expired, last_started, may_try_again, verdict
from infra.errors import LeaseLost, MillraceError, RequestRefused
from infra.stores.files import FileStore
from infra.stores.sessions import Sessions
from sandboxes.protocol import (
    Exit,
    LanguageMissing,
    Sandbox,
    Sandboxes,
    SandboxFailed,
    SandboxUnavailable,
)
from schemas.commands import RunCode
from schemas.events import FileProduced, Outcome
from schemas.ids import TenantId
from schemas.limits import SandboxLimits
from schemas.validate import Bounds
from streams.heartbeat import heartbeat
from streams.protocol import Begun, Consumer, Control, Delivery, DeliveryPolicy, IdTaken

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunCodeConfig:
    """The operator's side of every execution."""

    bounds: Bounds
    limits: SandboxLimits
    policy: DeliveryPolicy
    network: bool = False
    """Whether the code may reach the network."""
    sandbox_patience_s: float = 30.0
    """How long an execution waits for a sandbox when none can be had."""


class RunCodeHandler:
    """Carries out entries of the requests stream, any number at once."""

    def __init__(  # noqa: PLR0913 - one for each thing it brings together
        self,
        config: RunCodeConfig,
        consumer: Consumer,
        sandboxes: Sandboxes,
        files: FileStore,
        registry: Registry,
        now: Callable[[], datetime],
        *,
        sessions: Sessions | None = None,
        states: States | None = None,
    ) -> None:
        self._config = config
        self._consumer = consumer
        self._taker = Taker(
            sandboxes, config.limits, now, network=config.network, patience_s=config.sandbox_patience_s
        )
        self._files = files
        self._registry = registry
        self._now = now
        self._sessions = sessions
        self._states = states

    async def on_delivery(self, delivery: Delivery) -> None:
        """Bring one entry to its end, or leave it to whoever holds its lease."""
        try:
            match admit(delivery, self._config.bounds):
                case Admitted(command, digest):
                    await self._begin(delivery, command, digest)
                case Refused(command, digest, reason, unreadable):
                    if unreadable:
                        await self._consumer.bury(delivery, reason, acknowledge=False)
                    await self._begin(delivery, command, digest, refusal=reason)
                case Nameless(reason, name):
                    await self._bury(delivery, reason, name)
        except LeaseLost:
            log.warning("lease_lost", entry=delivery.entry)

    async def _bury(self, delivery: Delivery, reason: str, name: str | None) -> None:
        log.warning("request_unreadable", entry=delivery.entry, reason=reason)
        await self._consumer.bury(delivery, reason, acknowledge=name is None)
        if name is not None:
            await self._consumer.reject(delivery, rejection(name, reason, self._now()), TenantId("default"))

    async def _begin(self, delivery: Delivery, command: RunCode, digest: str, refusal: str = "") -> None:
        """Take lease and turn; what another handler holds or has ended, or what must wait, is left alone."""
        assert command.id is not None, "admitted before"
        with self._registry.expecting(command.id) as heard:
            may = not refusal and self._registry.is_news(command.id)
            ahead = await self._taker.at_once(delivery, command) if may else Ahead()
            try:
                begun = await self._consumer.begin(delivery, command, digest, ahead.started)
                if isinstance(begun, Begun):
                    async with heartbeat(self._consumer, begun.lease, self._config.policy):
                        await self._own(begun, heard, ahead, refusal)
                elif isinstance(begun, IdTaken):
                    reason = f"id: {command.id!r} was used before with another body."
                    finished = rejection(command.id, reason, self._now())
                    await self._consumer.reject(delivery, finished, command.tenant)
            finally:
                await ahead.close()

    async def _own(self, begun: Begun, heard: Sequence[Control], ahead: Ahead, refusal: str) -> None:
        """Decide what is left to do for an execution this process now holds."""
        lease = begun.lease
        if begun.started_before:
            await fence_off(lease.command, self._states)
        if refusal:
            await self._end(begun, "rejected", refusal)
        elif reason := verdict(begun, self._config.policy.attempts_max):
            if begun.over_limit:
                await self._consumer.bury(lease.delivery, reason, acknowledge=False)
            await self._end(begun, "lost", reason)
        elif begun.overdue or is_expired(lease.command, last_started(begun), self._now()):
            await self._end(begun, "expired", EXPIRED)
        else:
            await self._attempt(begun, heard, ahead)

    async def _attempt(self, begun: Begun, heard: Sequence[Control], ahead: Ahead) -> None:
        lease = begun.lease
        with self._registry.holding(lease.execution_id, last_started(begun)) as running:
            for control in (*begun.mail, *heard):
                await running.apply(control)
            async with Journal(self._consumer, lease, self._now, is_watched=begun.is_watched) as journal:
                await self._try_until_it_ends(Execution(lease, running, journal), ahead)

    async def _try_until_it_ends(self, execution: Execution, ahead: Ahead) -> None:
        """Run it, and again in a fresh sandbox where the first one broke and `retry` allows."""
        while True:
            try:
                return await self._take_and_run(execution, ahead)
            except (RequestRefused, LanguageMissing) as refused:
                return await self._give_up(execution, "rejected", str(refused))
            except SandboxUnavailable as away:
                return await self._give_up(execution, "lost", f"No sandbox was ready: {away.message}")
            except SandboxFailed as failed:
                log.error("sandbox_failed", execution_id=execution.id, reason=str(failed))
                if not may_try_again(execution, self._config.policy.attempts_max):
                    return await execution.journal.finish(sandbox_lost(execution, str(failed), self._now()))
                execution.lease.attempt += 1
                await self._consumer.renew(execution.lease)
            except MillraceError:
                raise
            except Exception:  # our own mistake: its publisher shall not wait for a lease to run out
                log.exception("execution_failed", execution_id=execution.id)
                return await self._give_up(execution, "lost", "An error inside Millrace ended the execution.")

    async def _take_and_run(self, execution: Execution, ahead: Ahead) -> None:
        await enter_session(execution.command, self._sessions, self._files)
        sandbox = ahead.take_out() or await self._taker.patiently(execution)
        if sandbox is None:
            return await execution.journal.finish(not_wanted_any_more(execution, self._now()))
        try:
            files = ExecutionFiles(execution.command, self._files)
            state = ExecutionState(
                execution.command, self._states, partial(self._consumer.renew, execution.lease)
            )
            await files.put(sandbox)
            program = execution.running.enter(sandbox, execution.program(await state.order()))
            if self._taker.is_unwanted(execution):
                return await execution.journal.finish(not_wanted_any_more(execution, self._now()))
            started_at = await self._say_started(execution, sandbox, ahead)
            exit_ = await run_program(execution, sandbox, program, self._now)
            kept = await files.keep(sandbox)
            kept.state = await state.keep(sandbox, exit_)
            await self._conclude(execution, exit_, kept, started_at)
        finally:
            await sandbox.close()

    async def _say_started(self, execution: Execution, sandbox: Sandbox, ahead: Ahead) -> datetime:
        """Put `started` into the log, unless the lease did. Only once it is there may the code run."""
        attempt = execution.lease.attempt
        if execution.running.attempt == attempt and ahead.started is not None:
            return ahead.started.time
        execution.running.attempt = attempt
        started = self._taker.started(execution.command, sandbox, attempt)
        await execution.journal.write(started)
        return started.time

    async def _conclude(self, execution: Execution, exit_: Exit, kept: Kept, started_at: datetime) -> None:
        now = self._now()
        produced = [FileProduced(execution_id=execution.id, seq=0, time=now, file=ref) for ref in kept.files]
        await execution.journal.finish(concluded(execution, exit_, kept, started_at, now), produced)

    async def _give_up(self, execution: Execution, outcome: Outcome, message: str) -> None:
        """Write the outcome of an attempt that could not be started."""
        attempt = execution.running.attempt
        await execution.journal.finish(unstarted(execution.lease, attempt, outcome, message, self._now()))

    async def _end(self, begun: Begun, outcome: Outcome, message: str) -> None:
        """Write the outcome of an execution that nobody may start any more."""
        finished = unstarted(begun.lease, last_started(begun), outcome, message, self._now())
        await self._consumer.finish(begun.lease, [], finished)
