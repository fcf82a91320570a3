"""One execution while this process holds it: its lease, its journal, and what others want of it."""

from dataclasses import dataclass

from handlers.journal import Journal
from handlers.running import Running
from sandboxes.protocol import Program, StateOrder
from schemas.commands import RunCode
from schemas.ids import ExecutionId
from streams.protocol import Lease


@dataclass(frozen=True, slots=True)
class Execution:
    """What every step of an execution's life needs to know."""

    lease: Lease
    running: Running
    journal: Journal

    @property
    def id(self) -> ExecutionId:
        """The execution's id."""
        return self.lease.execution_id

    @property
    def command(self) -> RunCode:
        """What was asked for."""
        return self.lease.command

    def program(self, state: StateOrder | None = None) -> Program:
        """Return what is to run in the sandbox, with the variables of its session if it has any."""
        command = self.command
        return Program(
            code=command.code,
            args=command.args,
            env=command.env,
            stdin=(command.stdin or "").encode(),
            keep_stdin_open=command.stdin is None,
            state=state,
            tools=command.tools,
        )
