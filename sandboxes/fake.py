"""Sandboxes that only pretend, for tests and simulation: outcomes on demand, and nothing real runs.

What a program looks like is told in `fake_script.py`. Sleeping and time limits go through `sleep`, so that
a simulation can bring a clock of its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from infra.errors import RequestRefused
from sandboxes.fake_calls import FakeCalls
from sandboxes.fake_play import CANCELLED, Played, play_out
from sandboxes.fake_script import Ending, Player, Sleep, saved_variables
from sandboxes.protocol import (
    Exit,
    FileChanges,
    Frame,
    LanguageMissing,
    LanguageStatus,
    OutputFrame,
    ProducedFile,
    Program,
    SandboxesInfo,
    SandboxFailed,
    SandboxSpec,
    SandboxUnavailable,
    SavedState,
    ToolCalls,
)
from schemas.commands import ToolResult
from schemas.events import OutputCount, OutputStream
from schemas.files import file_name_fault, is_scratch
from schemas.languages import LANGUAGES
from schemas.limits import SandboxLimits

_FILE_NAME_LENGTH_MAX = 4096


class FakeSandboxes:
    """See `sandboxes.protocol.Sandboxes`. At most `sandboxes_max` at a time, without those `missing`."""

    def __init__(
        self,
        *,
        sandboxes_max: int = 1000,
        missing: frozenset[str] = frozenset(),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._sandboxes_max = sandboxes_max
        self._missing = missing
        self._sleep = sleep
        self.open: set[FakeSandbox] = set()
        """Those not closed yet."""
        self.acquired = 0
        """How many there ever were."""

    async def start(self) -> None:
        """There is nothing to probe."""

    async def acquire(self, spec: SandboxSpec) -> "FakeSandbox":
        """Take one."""
        if spec.language in self._missing:
            raise LanguageMissing(f"{spec.language} does not run here: it was said to be missing.")
        if len(self.open) >= self._sandboxes_max:
            raise SandboxUnavailable(f"All {self._sandboxes_max} sandboxes are taken.")
        self.acquired += 1
        sandbox = FakeSandbox(spec.limits, self._sleep, self.open.discard)
        self.open.add(sandbox)
        return sandbox

    def is_ready(self, spec: SandboxSpec) -> bool:
        """All that may be taken wait."""
        return spec.language not in self._missing and len(self.open) < self._sandboxes_max

    def info(self) -> SandboxesInfo:
        """Every language, but those said to be missing."""
        languages = [
            LanguageStatus(language.code, available=False, missing="It was said to be missing.")
            if language.code in self._missing
            else LanguageStatus(language.code, available=True, version="0")
            for language in LANGUAGES
        ]
        return SandboxesInfo(kind="fake", tier=None, languages=languages)

    async def close(self) -> None:
        """Close all that are open."""
        for sandbox in list(self.open):
            await sandbox.close()


class FakeSandbox:
    """One execution of a script; see `sandboxes.protocol.Sandbox`."""

    kind = "fake"

    def __init__(
        self, limits: SandboxLimits, sleep: Sleep, on_close: "Callable[[FakeSandbox], None]"
    ) -> None:
        self._limits = limits
        self._sleep = sleep
        self._on_close = on_close
        self._files: dict[str, bytes] = {}
        self._before: dict[str, bytes] = {}
        self._stdin = asyncio.StreamReader()
        self._early: list[tuple[bytes, bool]] = []
        self._stdin_over = False
        self._cancelled = asyncio.Event()
        self._written: dict[OutputStream, int] = {"stdout": 0, "stderr": 0}
        self._dropped = 0
        self._ran = False
        self._state = SavedState()
        self._calls = FakeCalls()

    async def put_file(self, name: str, content: AsyncIterator[bytes]) -> None:
        """Keep a file in memory."""
        if fault := file_name_fault(name, _FILE_NAME_LENGTH_MAX):
            raise RequestRefused(f"The file name {fault}.", field="files")
        self._files[name] = b"".join([chunk async for chunk in content])

    async def run(self, program: Program) -> AsyncIterator[Frame]:
        """Play the script at the consumer's pace."""
        if self._ran:
            raise RuntimeError("A sandbox runs once.")
        self._ran = True
        self._before = dict(self._files)
        self._open_stdin(program)
        began = time.monotonic()
        played: asyncio.Queue[Played] = asyncio.Queue(maxsize=1)
        self._calls.open(program.tools, played.put)
        player = Player(program, self._files, self._stdin, self._sleep, self._calls.ask)
        ending = CANCELLED if self._cancelled.is_set() else player.ends_at_once()
        if ending is not None:  # nothing is said, so nobody plays
            self._stdin_over = True
            self._state = saved_variables(program.state, player.variables, ending)
            yield self._exit(ending, time.monotonic() - began)
            return
        out = self._calls.run_out(self._sleep, self._limits.timeout_s)
        playing = asyncio.create_task(
            play_out(player, played.put, self._cancelled, out, self._limits.timeout_s)
        )
        try:
            while isinstance(said := await played.get(), tuple | ToolCalls):
                if isinstance(said, ToolCalls):
                    yield said
                elif kept := self._keep(*said):
                    yield OutputFrame(said[0], kept)
        finally:
            playing.cancel()
            self._stdin_over = True
        if isinstance(said, SandboxFailed):
            raise said
        self._state = saved_variables(program.state, player.variables, said)
        yield self._exit(said, time.monotonic() - began)

    async def send_input(self, data: bytes, *, eof: bool = False) -> None:
        """Feed the script's stdin."""
        if not self._ran:
            self._early.append((data, eof))
        elif not self._stdin_over:
            self._stdin.feed_data(data)
            if eof:
                self._stdin_over = True
                self._stdin.feed_eof()

    async def resolve(self, results: Sequence[ToolResult]) -> None:
        """Answer calls."""
        self._calls.resolve(results)

    async def cancel(self) -> None:
        """End the script."""
        self._cancelled.set()

    async def changes(self) -> FileChanges:
        """Compare files by content."""
        asked_for = [name for name in sorted(self._files) if name in self._before or not is_scratch(name)]
        changed = [name for name in asked_for if self._before.get(name) != self._files[name]]
        most = self._limits.files_max
        return FileChanges(
            produced=[ProducedFile(name, len(self._files[name])) for name in changed[:most]],
            deleted=[name for name in self._before if name not in self._files],
            skipped=[(name, f"more than {most} files") for name in changed[most:]],
        )

    async def read_file(self, name: str) -> AsyncIterator[bytes]:
        """Read a file in one piece."""
        if name not in self._files:
            raise SandboxFailed(f"{name} cannot be read: there is no such file.")
        yield self._files[name]

    async def saved_state(self) -> SavedState:
        """Return the variables that the script remembered."""
        return self._state

    async def close(self) -> None:
        """Forget everything."""
        self._cancelled.set()
        self._on_close(self)

    def _open_stdin(self, program: Program) -> None:
        self._stdin.feed_data(program.stdin)
        early = self._early if program.keep_stdin_open else [(b"", True)]
        for data, eof in early:
            self._stdin.feed_data(data)
            if eof:
                self._stdin_over = True
                self._stdin.feed_eof()
                return

    def _keep(self, stream: OutputStream, data: bytes) -> bytes:
        """Count `data`; return what the output limit leaves of it."""
        kept = sum(self._written.values()) - self._dropped
        left = max(0, self._limits.output_bytes_max - kept)
        self._written[stream] += len(data)
        self._dropped += max(0, len(data) - left)
        return data[:left]

    def _exit(self, ending: Ending, wall_s: float) -> Exit:
        return Exit(
            outcome=ending.outcome,
            stage=ending.stage,
            exit_code=ending.exit_code,
            signal=ending.signal,
            message=ending.message,
            wall_s=wall_s,
            cpu_s=0.0,
            memory_bytes_peak=0,
            output=OutputCount(
                stdout_bytes=self._written["stdout"],
                stderr_bytes=self._written["stderr"],
                dropped_bytes=self._dropped,
            ),
        )
