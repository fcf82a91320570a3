"""One execution in one pod: everything goes through its sidecar, and the pod ends with it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

import msgspec

from infra.errors import RequestRefused
from sandboxes.changes import compare
from sandboxes.guest.state import BEFORE, NOTE, SAVED
from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.config import KubernetesConfig
from sandboxes.kubernetes.order import Ending, ending_of, exit_of, found_in, limits_in_pod, run_order
from sandboxes.kubernetes.pod_names import AGENT_FOLDER, PROGRAM_FOLDER
from sandboxes.kubernetes.post_mortem import CodesFault, post_mortem
from sandboxes.kubernetes.sidecar import Claimed, RunFrame, Sidecar, SidecarLost, SidecarRefused
from sandboxes.languages import Steps, recipe_for
from sandboxes.protocol import (
    Exit,
    FileChanges,
    Frame,
    OutputFrame,
    Program,
    SandboxFailed,
    SandboxSpec,
    SavedState,
    StateOrder,
    ToolCalls,
)
from sandboxes.state_files import BOOT, FOLDER, NOTE_BYTES_MAX, boot_script, saved_state, with_state
from sandboxes.tool_calls import ToolDesk
from sandboxes.tool_kit import Channel, tool_kit
from schemas.commands import ToolResult
from schemas.events import OutputCount, OutputStream
from schemas.files import file_name_fault

_FILE_NAME_LENGTH_MAX = 4096
CHANNEL = Channel(answers_fd=3, calls_fd=4)
"""Where the agent puts them."""
_STREAMS: dict[str, OutputStream] = {"o": "stdout", "e": "stderr"}


@dataclass(frozen=True, slots=True)
class Pod:
    """What a sandbox is made of."""

    name: str
    sidecar: Sidecar
    claimed: Claimed


class KubernetesSandbox:
    """A claimed pod; see `sandboxes.protocol.Sandbox`. `on_close` has the pod deleted."""

    kind = "kubernetes"

    def __init__(
        self,
        pod: Pod,
        spec: SandboxSpec,
        config: KubernetesConfig,
        api: KubernetesApi,
        on_close: "Callable[[KubernetesSandbox], Coroutine[None, None, None]]",
    ) -> None:
        self.pod_name = pod.name
        self._pod = pod
        self._sidecar = pod.sidecar
        self._config = config
        self._api = api
        self._on_close = on_close
        self._recipe = recipe_for(spec.language)
        self._limits = limits_in_pod(spec.limits, self._recipe, config.pod)
        self._written: dict[OutputStream, int] = {"stdout": 0, "stderr": 0}
        self._state: StateOrder | None = None
        self._desk = ToolDesk(())
        self._exit: Exit | None = None
        self._ran = False
        self._cancelled = False
        self._closing: asyncio.Task[None] | None = None
        self._died_of: CodesFault | None = None
        """How the pod was lost before the run had ended, if it was the code's fault."""

    async def put_file(self, name: str, content: AsyncIterator[bytes]) -> None:
        """Write one input file. Raises `RequestRefused` if it may not be or does not fit."""
        if fault := file_name_fault(name, _FILE_NAME_LENGTH_MAX):
            raise RequestRefused(f"The file name {fault}.", field="files")
        async with self._speaking():
            await self._sidecar.put("data", name, content)

    async def run(self, program: Program) -> AsyncIterator[Frame]:
        """Build and run `program`; the last frame is the `Exit`."""
        if self._ran:
            raise RuntimeError("A sandbox runs once.")
        self._ran = True
        order = await self._prepare(program)
        try:
            async with aclosing(self._sidecar.run(order, self._config.silence_s_max)) as frames:
                async for frame in frames:
                    if told := await self._told(frame):
                        yield told
        except SidecarLost as lost:
            self._exit = await self._died(str(lost))
        except SidecarRefused as refused:
            raise SandboxFailed(f"the pod {self.pod_name} did not run the program: {refused}") from refused
        if self._exit is None:
            self._exit = await self._died("its run ended without an end")
        yield self._exit

    async def send_input(self, data: bytes, *, eof: bool = False) -> None:
        """Write to the program's stdin."""
        if self._exit is None:
            with suppress(SidecarLost, SidecarRefused):  # `run` tells why, if it matters
                await self._sidecar.send_input(data, eof=eof)

    async def resolve(self, results: Sequence[ToolResult]) -> None:
        """Answer tool calls."""
        await self._answer(self._desk.answer(results))

    async def _hear(self, data: bytes) -> ToolCalls | None:
        """Return the calls that the program makes by `data`, and refuse those that go no further."""
        calls = self._desk.hear(data)
        await self._answer(self._desk.refusals())
        return ToolCalls(calls) if calls else None

    async def _answer(self, lines: bytes) -> None:
        if lines and self._exit is None:
            with suppress(SidecarLost, SidecarRefused):  # `run` tells why, if it matters
                await self._sidecar.send_tool_results(lines)

    async def cancel(self) -> None:
        """Kill all that runs, or what would run."""
        self._cancelled = True
        with suppress(SidecarLost, SidecarRefused):  # then `run` ends by itself
            await self._sidecar.cancel()

    async def changes(self) -> FileChanges:
        """Compare the working directory with what was put in; nothing of it is left where the pod died."""
        if self._died_of:
            return FileChanges()
        async with self._speaking():
            listings = await self._sidecar.changes()
        return compare(found_in(listings["before"]), found_in(listings["after"]), self._limits)

    async def read_file(self, name: str) -> AsyncIterator[bytes]:
        """Read one produced file."""
        async with self._speaking(), aclosing(self._reading(name)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _reading(self, name: str) -> AsyncGenerator[bytes, None]:
        return self._sidecar.read("data", name, self._limits.file_bytes_max)

    async def saved_state(self) -> SavedState:
        """Take out the variables, if the program came to its own end."""
        if self._state is None or self._exit is None or self._exit.exit_code is None:
            return SavedState()
        async with self._speaking():
            note = await self._sidecar.read_all("program", f"{FOLDER}/{NOTE}", NOTE_BYTES_MAX)
            data = await self._sidecar.read_all("program", f"{FOLDER}/{SAVED}", self._state.bytes_max)
        return saved_state(data, note, self._exit.exit_code, self._state)

    async def close(self) -> None:
        """Have the pod deleted; goes on to its end even if the caller is cancelled."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._on_close(self))
        await asyncio.shield(self._closing)

    async def _prepare(self, program: Program) -> dict[str, object]:
        """Put in what the run needs beside its files; returns the order."""
        steps = self._recipe.steps(program.code, PROGRAM_FOLDER, program.args)
        if program.state and self._recipe.code == "py":
            self._state = program.state
            steps = with_state(steps, PROGRAM_FOLDER, program.state)
            async with self._speaking():
                await self._put_state(program.state)
        if program.tools:
            steps = await self._equip(program, steps)
        return run_order(
            self._recipe, steps, program, self._limits, self._config.pod, self._pod.claimed.machine
        )

    async def _equip(self, program: Program, steps: Steps) -> Steps:
        """Put in what the program needs to call tools; return how it is run then."""
        self._desk = ToolDesk(program.tools)
        zipped = repr(f"{AGENT_FOLDER}/guest.zip")
        kit = tool_kit(self._recipe.code, steps, PROGRAM_FOLDER, program.tools, CHANNEL, zipped)
        async with self._speaking():
            for name, content in kit.files.items():
                await self._sidecar.put("program", name, content)
        return kit.steps

    async def _put_state(self, order: StateOrder) -> None:
        boot = boot_script(repr(f"{AGENT_FOLDER}/guest.zip"))
        await self._sidecar.put("program", f"{FOLDER}/{BOOT}", boot.encode())
        if order.before is not None:
            await self._sidecar.put("program", f"{FOLDER}/{BEFORE}", order.before)

    async def _told(self, frame: RunFrame) -> OutputFrame | ToolCalls | None:
        """Return what a frame tells of the program; its end is noted."""
        if frame.kind in _STREAMS:
            return self._output(frame)
        if frame.kind == "t":
            return await self._hear(frame.payload)
        if frame.kind in "xf":
            self._exit = await self._ended(frame)
        return None

    def _output(self, frame: RunFrame) -> OutputFrame:
        stream = _STREAMS[frame.kind]
        self._written[stream] += len(frame.payload)
        return OutputFrame(stream, frame.payload)

    async def _ended(self, frame: RunFrame) -> Exit:
        """Return how it ended by the sidecar's last frame. Raises `SandboxFailed`."""
        try:
            if frame.kind == "x":
                ending = ending_of(frame.payload)
                if ending.stopped == "cancelled" and not self._cancelled:  # its pod is being deleted
                    return await self._died("somebody else told it to end")
                return exit_of(ending, self._recipe, self._limits, self._config.pod)
            failure = msgspec.json.decode(frame.payload, type=dict[str, str])
        except msgspec.MsgspecError as error:
            raise SandboxFailed(f"the sidecar of {self.pod_name} sent what cannot be read") from error
        if failure.get("error") != "agent_lost":
            raise SandboxFailed(failure.get("message") or "the program could not be started")
        return await self._died(failure.get("message") or "its agent is gone")

    async def _died(self, what_we_saw: str) -> Exit:
        """Return how the code ended its pod. Raises `SandboxFailed` if it did not."""
        if self._cancelled:
            self._died_of = CodesFault("cancelled", "The program was cancelled.")
        else:
            self._died_of = await post_mortem(self._api, self.pod_name, what_we_saw)
        ending = exit_of(Ending(), self._recipe, self._limits, self._config.pod)
        return Exit(
            outcome=self._died_of.outcome,
            stage=ending.stage,
            exit_code=None,
            signal="SIGKILL",
            message=self._died_of.message,
            wall_s=0.0,
            cpu_s=0.0,
            memory_bytes_peak=0,
            output=OutputCount(stdout_bytes=self._written["stdout"], stderr_bytes=self._written["stderr"]),
        )

    @asynccontextmanager
    async def _speaking(self) -> AsyncIterator[None]:
        """Turn what a sidecar may say or not say into the failures of the protocol."""
        try:
            yield
        except SidecarRefused as refused:
            if refused.code in ("no_room", "bad_name"):
                limit = self._config.pod.disk_bytes_max if refused.code == "no_room" else None
                raise RequestRefused(str(refused), field="files", limit=limit) from refused
            raise SandboxFailed(f"{refused}") from refused
        except SidecarLost as lost:
            raise SandboxFailed(f"the pod {self.pod_name} is lost: {lost}") from lost
