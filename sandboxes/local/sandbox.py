"""One sandbox on this machine: files in, build and run, output out, and nothing left."""

import asyncio
import errno
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

from infra.errors import RequestRefused
from sandboxes.changes import Found, compare
from sandboxes.languages import Recipe
from sandboxes.local import files
from sandboxes.local.account import Account
from sandboxes.local.bubblewrap import PROGRAM_FOLDER
from sandboxes.local.cgroups import GroupUsage
from sandboxes.local.config import LocalConfig
from sandboxes.local.control import Ended
from sandboxes.local.parts import Parts
from sandboxes.local.pipes import Ends, Pipes
from sandboxes.local.plan import Command, commands, order
from sandboxes.local.pump import OutputBudget, Pump
from sandboxes.local.state import StateFolder
from sandboxes.local.stdin import Stdin
from sandboxes.local.tools import Clock, ToolLine
from sandboxes.protocol import (
    FileChanges,
    Frame,
    OutputFrame,
    Program,
    SandboxFailed,
    SavedState,
    ToolCalls,
)
from sandboxes.verdict import Circumstances, StopReason, Verdict, judge, size
from schemas.commands import ToolResult
from schemas.events import Stage
from schemas.files import file_name_fault
from schemas.limits import SandboxLimits

_FILE_NAME_LENGTH_MAX = 4096
_KILL_GRACE_S = 2.0
"""How long process 1 may take to kill all others before it is killed itself."""


class LocalSandbox:
    """One execution's bubblewrap, already standing; see `sandboxes.protocol.Sandbox`."""

    kind = "local"

    def __init__(
        self,
        parts: Parts,
        recipe: Recipe,
        limits: SandboxLimits,
        config: LocalConfig,
        on_close: "Callable[[LocalSandbox], None]",
    ) -> None:
        self._on_close = on_close
        self._guest = parts.guest
        self._group = parts.group
        self._leave = parts.leave
        self._joined = parts.joined
        self._uid = parts.uid
        self._ahead = parts.ahead
        self._recipe = recipe
        self.language = recipe.code
        self._limits = limits
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._stdin = Stdin()
        self._budget = OutputBudget(limits.output_bytes_max, config.flood_bytes_max)
        self._account = Account(parts.group, parts.cpu_s_before, self._budget)
        self._before: Sequence[Found] = ()
        self._is_furnished = parts.ahead is not None  # else its folder is empty until a file is put in
        self._state: StateFolder | None = None
        self._clock = Clock(self._time_out)
        self._tools = ToolLine(self._clock)
        self._began = 0.0
        self._stage_began: dict[Stage, float] = {}
        self._stopped: StopReason | None = None
        self._ended: Ended | None = None
        self._over = False
        self._last_resort: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def put_file(self, name: str, content: AsyncIterator[bytes]) -> None:
        """Write one input file. Raises `RequestRefused` if it may not be or does not fit."""
        if fault := file_name_fault(name, _FILE_NAME_LENGTH_MAX):
            raise RequestRefused(f"The file name {fault}.", field="files")
        self._is_furnished = True
        try:
            await files.put_file(self._guest.data_fd, name, content, self._uid)
        except OSError as error:
            raise self._refusal(error, name) from error

    async def run(self, program: Program) -> AsyncIterator[Frame]:
        """Build and run `program`; the last frame is the `Exit`."""
        if self._began:
            raise RuntimeError("A sandbox runs once.")
        self._began = time.monotonic()
        verdict = Verdict("cancelled", None, None, "It was cancelled before it started.")
        stage: Stage = "run"
        usage: GroupUsage | None = None
        try:
            for command in () if self._stopped else await self._prepare(program):
                stage = command.stage
                async with aclosing(self._run_command(command)) as frames:
                    async for frame in frames:
                        yield frame
                usage = self._account.usage(self._ended)
                verdict = self._judge(command, usage)
                if verdict.exit_code != 0 or self._stopped:
                    break
            self._over = True
            usage = usage or self._account.usage(self._ended)
            yield self._account.exit(stage, verdict, usage, time.monotonic() - self._began)
        finally:
            self._stop("cancelled")
            self._stdin.close()

    async def send_input(self, data: bytes, *, eof: bool = False) -> None:
        """Write to the program's stdin."""
        await self._stdin.write(data, eof=eof)

    async def resolve(self, results: Sequence[ToolResult]) -> None:
        """Answer tool calls."""
        self._tools.resolve(results)

    async def cancel(self) -> None:
        """Kill all that runs, or what would run."""
        self._stop("cancelled")

    async def changes(self) -> FileChanges:
        """Compare the working directory with what was put in."""
        return compare(self._before, await self._find_files(), self._limits)

    async def _find_files(self) -> Sequence[Found]:
        """List the working directory, beside the loop unless there is nothing to list."""
        if files.is_empty(self._guest.data_fd):
            return ()
        return await asyncio.to_thread(files.find_files, self._guest.data_fd)

    async def read_file(self, name: str) -> AsyncIterator[bytes]:
        """Read one produced file."""
        reading = files.read_file(self._guest.data_fd, name, self._limits.file_bytes_max)
        try:
            async with aclosing(reading) as chunks:
                async for chunk in chunks:
                    yield chunk
        except OSError as error:
            raise SandboxFailed(f"{name} cannot be read: {error.strerror}.") from error

    async def saved_state(self) -> SavedState:
        """Take out the variables, if the program came to its own end."""
        ended = self._ended
        if self._state is None or self._stopped or ended is None or ended.status < 0:
            return SavedState()
        return await asyncio.to_thread(self._state.take, ended.status)

    async def close(self) -> None:
        """Kill, wait, remove; goes on to its end even if the caller is cancelled."""
        self._stop("cancelled")
        if self._closing is None:
            self._closing = self._loop.create_task(self._destroy())
        await asyncio.shield(self._closing)

    async def _prepare(self, program: Program) -> list[Command]:
        """Put the source in, note what files there are, wait for the limits to be in force."""
        steps = self._recipe.steps(program.code, PROGRAM_FOLDER, program.args)
        try:
            files.put_bytes(self._guest.program_fd, steps.file_name, program.code.encode(), self._uid)
            if program.state and self.language == "py":
                self._state = StateFolder(self._guest.program_fd, self._uid, program.state)
                self._state.put()
                steps = self._state.steps(steps)
            if program.tools:
                place = self._guest.program_fd, self._uid
                steps = self._tools.equip(place, self.language, steps, program.tools)
        except OSError as error:
            raise self._refusal(error, steps.file_name) from error
        self._before = await self._find_files() if self._is_furnished else ()
        self._stdin.prepend(program.stdin, eof=not program.keep_stdin_open)
        await self._limited()
        if self._ahead and not await self._ahead.accept(steps, program):
            self._ahead = None
        return commands(self._recipe, steps, program, self._limits.timeout_s, self._config.path)

    async def _limited(self) -> None:
        """Wait until the control group holds it."""
        try:
            await self._joined
        except OSError as error:
            raise SandboxFailed(f"No control group takes the sandbox: {error.strerror}.") from error

    async def _run_command(self, command: Command) -> AsyncGenerator[OutputFrame | ToolCalls, None]:
        """Run one command to its end; yields what it writes and the tools it calls."""
        self._ended = None
        ends, ended = self._ahead.begin(command.stage) if self._ahead else await self._start(command)
        if command.stage == "run":
            self._stdin.open(ends.stdin)
        self._tools.open(ends.answers, ends.calls)
        pump = Pump(ends.stdout, ends.stderr, self._budget, self._tools)
        began = self._stage_began.setdefault(command.stage, self._loop.time())
        self._clock.start(command.timeout_s, began)
        try:
            async for frame in pump.frames(ended):
                if self._budget.is_flooded:
                    self._stop("flooded")
                if isinstance(frame, ToolCalls) or frame.data:
                    yield frame
            if not ended.done():
                self._guest.control.hear_silence()
            self._ended = await self._ending(ended)
        finally:
            self._clock.stop()
            self._tools.close()
            pump.close()
            ended.add_done_callback(_forget)

    async def _start(self, command: Command) -> "tuple[Ends, asyncio.Future[Ended]]":
        """Have process 1 start a command; returns our ends of its pipes, and its end."""
        start = order(command, self._limits, self._config.disk_bytes_max, grouped=self._group is not None)
        pipes = Pipes(with_stdin=command.stage == "run", with_tools=command.tools)
        try:
            return pipes.ours, await self._guest.control.start(start, pipes.theirs)
        finally:
            pipes.hand_over()

    async def _ending(self, ended: "asyncio.Future[Ended]") -> Ended | None:
        """Wait for the command's end; None if process 1 went with it and we know why."""
        try:
            return await ended
        except SandboxFailed:
            if self._stopped or self._account.usage(self._ended).oom_kills:
                return None
            raise

    def _time_out(self) -> None:
        self._stop("timed_out")

    def _stop(self, why: StopReason) -> None:
        """Kill all processes, for the first reason given; then make sure."""
        if self._stopped or self._over or self._closing:
            return
        self._stopped = why
        if self._group:
            self._group.lift_cpu_quota()
        self._guest.control.kill()
        self._last_resort = self._loop.call_later(_KILL_GRACE_S, self._guest.kill)

    def _judge(self, command: Command, usage: GroupUsage) -> Verdict:
        around = Circumstances(
            stage=command.stage,
            limits=self._limits,
            timeout_s=command.timeout_s,
            disk_bytes_max=self._config.disk_bytes_max,
            flood_bytes_max=self._config.flood_bytes_max,
            dropped_bytes=self._budget.dropped_bytes,
            stopped=self._stopped,
            out_of_memory=usage.oom_kills > 0,
            out_of_pids=usage.pids_refused > 0,
        )
        # stopped between two commands is stopped, even if the one before ended well
        told = command.stage == "run" or not self._stopped
        return judge(self._ended.status if told and self._ended else None, around)

    def _refusal(self, error: OSError, name: str) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EFBIG):
            most = self._config.disk_bytes_max
            message = f"The files do not fit into the sandbox's {size(most)}."
            return RequestRefused(message, field="files", limit=most)
        return SandboxFailed(f"{name} cannot be written: {error.strerror}.")

    async def _destroy(self) -> None:
        if self._guest.kill() and self._group:
            self._group.lift_cpu_quota()
        self._stdin.close()
        if self._last_resort:
            self._last_resort.cancel()
        await asyncio.wait([self._joined])
        if not self._joined.cancelled():
            self._joined.exception()  # told by `run`, if it came to that
        await self._guest.close()
        if self._ahead:
            self._ahead.close()
        if self._group:
            await self._leave(self._group)
        self._on_close(self)


def _forget(ended: "asyncio.Future[Ended]") -> None:
    """Look at a failure that nobody waits for any more, so that it is not reported as lost."""
    if not ended.cancelled():
        ended.exception()
