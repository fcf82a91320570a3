"""Whether an execution that was begun may run: what `retry`, the attempt limit and the deadline say."""

from datetime import datetime

from handlers.execution import Execution
from schemas.commands import RunCode
from streams.protocol import Begun


def verdict(begun: Begun, attempts_max: int) -> str | None:
    """Return why the execution is lost, or None if it may run.

    `started_before` is known for certain, because `started` is in the log before any code runs.
    """
    retry = begun.lease.command.retry
    if begun.over_limit:
        return (
            f"The execution was given up after {attempts_max} attempts; every handler that tried it was lost."
        )
    if begun.started_before and retry != "always":
        return f"The handler or sandbox was lost while the code ran, and retry is '{retry}'."
    if begun.lease.attempt > 1 and retry == "never":
        return "The handler was lost before the code started, and retry is 'never'."
    return None


def last_started(begun: Begun) -> int:
    """Return the newest attempt known to have started: this one, the one before, or 0."""
    if begun.has_started:
        return begun.lease.attempt
    return begun.lease.attempt - 1 if begun.started_before else 0


def is_expired(command: RunCode, attempt: int, now: datetime) -> bool:
    """Return whether the deadline for starting has passed. What started in time (`attempt`) keeps it met."""
    return not attempt and command.deadline is not None and now >= command.deadline


def may_try_again(execution: Execution, attempts_max: int) -> bool:
    """Return whether an execution whose sandbox broke may run in another one."""
    enough = {"always"} if execution.running.attempt else {"always", "if_not_started"}
    return execution.lease.attempt < attempts_max and execution.command.retry in enough
