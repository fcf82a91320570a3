"""What a sandbox promises, whatever it is made of. One contract suite holds every body to it.

A sandbox is used for one execution and destroyed. Code that crashes, floods or hangs is a good
answer, told in `Exit`; only the sandbox's own failure raises.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from infra.errors import MillraceError, Unavailable
from schemas.commands import Tool, ToolResult
from schemas.events import OutputCount, OutputStream, Stage, ToolCall
from schemas.limits import SandboxLimits

Tier = Literal["A", "B", "C", "D", "E"]
"""How well one machine can isolate, best first; docs/security.md says what each promises."""


class SandboxUnavailable(Unavailable):
    """No sandbox can be had now; a later `acquire` may succeed."""


class LanguageMissing(MillraceError):
    """This body cannot run the language; the message says what to install."""


class SandboxFailed(MillraceError):
    """The sandbox itself broke (not the code in it); whether the code ran is not known."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What kind of sandbox an execution needs."""

    execution_id: str
    language: str
    """A code of `schemas.languages`."""
    limits: SandboxLimits
    network: bool = False
    code: str = ""
    """The program, where it is known already: a hint which of several warm kinds suits it."""
    check_types: bool = False
    """The build reports type errors, for a language that runs without a look at them (`Recipe.check`)."""


@dataclass(frozen=True, slots=True)
class StateOrder:
    """Keep the variables of a Python program from run to run."""

    before: bytes | None
    """What an earlier run saved; None starts afresh. It may be broken or hostile: the guest reads it."""
    bytes_max: int
    """Of what this run saves; nothing larger leaves the sandbox."""
    on_error: bool = False
    """Save also when the program's exit code is not 0."""


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a run saved of its variables."""

    data: bytes | None = None
    """For `StateOrder.before` of the next run, without meaning to others; None if nothing was saved."""
    note: str = ""
    """What could not be restored or saved and why; empty if all was."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run in it."""

    code: str
    args: Sequence[str] = ()
    env: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    keep_stdin_open: bool = False
    """Leave stdin open after `stdin` for `Sandbox.send_input`."""
    state: StateOrder | None = None
    """Restore variables before the run and save them after it. Python only; others take no notice."""
    tools: Sequence[Tool] = ()
    """Functions the code may call (`schemas.tool_names`); `ToolCalls` says when it does.

    With tools a Python program is the body of an async function.
    """


@dataclass(frozen=True, slots=True)
class OutputFrame:
    """Bytes the code wrote, in order within its stream. Any size, split anywhere."""

    stream: OutputStream
    data: bytes


@dataclass(frozen=True, slots=True)
class Exit:
    """How it ended. Always the last frame of a run."""

    outcome: Literal["exited", "timed_out", "out_of_memory", "killed", "cancelled"]
    stage: Stage
    exit_code: int | None
    signal: str | None
    """Name of the signal that ended it, such as `SIGSEGV`."""
    message: str
    """One sentence for people, naming the limit where one was hit."""
    wall_s: float
    cpu_s: float
    memory_bytes_peak: int
    output: OutputCount


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Tools that the code called, each registered and with an id of its own, never to come again.

    What was written before the calls comes before this frame.
    """

    calls: Sequence[ToolCall]


Frame = OutputFrame | ToolCalls | Exit


@dataclass(frozen=True, slots=True)
class ProducedFile:
    """A regular file that was new or changed after the run, not yet read."""

    name: str
    """Path below the working directory, `/` as separator."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What a run did to the working directory, except in folders that programs make for themselves.

    Those are hidden folders and `__pycache__`; what was put into one counts as everywhere else.
    """

    produced: Sequence[ProducedFile] = ()
    deleted: Sequence[str] = ()
    """Names of files that were put in and are gone."""
    skipped: Sequence[tuple[str, str]] = ()
    """(name, why): too large, too many, no regular file, a name that is no UTF-8."""


class Sandbox(Protocol):
    """One sandbox for one execution. Not safe to run twice."""

    @property
    def kind(self) -> str:
        """`local`, `kubernetes` or `fake`, as `started` tells it."""

    async def put_file(self, name: str, content: AsyncIterator[bytes]) -> None:
        """Write one file below the working directory, following no link. Before `run` only."""

    def run(self, program: Program) -> AsyncIterator[Frame]:
        """Build and run; yields output as it comes and one `Exit` last.

        The consumer's pace is the guest's pace: what is not taken is not read. Raises
        `SandboxFailed` if the sandbox broke.
        """

    async def send_input(self, data: bytes, *, eof: bool = False) -> None:
        """Write to the program's stdin; what comes before `run` has started it follows `Program.stdin`.

        After the program's end, or once its stdin was closed, this does nothing.
        """

    async def resolve(self, results: Sequence[ToolResult]) -> None:
        """Answer calls, whether the code reads it or not. Unknown ids and repeats do nothing.

        While a call is not answered the time limit of the run does not count; after that it begins anew.
        """

    async def cancel(self) -> None:
        """Kill the whole process tree; `run` then yields what was written and an `Exit` `cancelled`."""

    async def changes(self) -> FileChanges:
        """Say what the run did to the working directory. After `run` only."""

    def read_file(self, name: str) -> AsyncIterator[bytes]:
        """Read one produced file, following no link."""

    async def saved_state(self) -> SavedState:
        """Return the variables that a run with `Program.state` saved.

        A run that did not come to its own end saves nothing. After `run` only.
        """

    async def close(self) -> None:
        """Destroy the sandbox with everything in it. Safe to call twice, and at any moment."""


@dataclass(frozen=True, slots=True)
class LanguageStatus:
    """Whether a language runs here."""

    code: str
    available: bool
    version: str = ""
    missing: str = ""
    """What is missing and the command that installs it; empty if available."""
    warm: int = 0
    """Sandboxes that wait ready for it."""


@dataclass(frozen=True, slots=True)
class SandboxesInfo:
    """What this body can do here, for health pages and `doctor`."""

    kind: str
    tier: Tier | None
    """None where tiers do not apply."""
    languages: Sequence[LanguageStatus]
    notes: Sequence[str] = ()
    """What the host lacks, each with the command that mends it."""


class Sandboxes(Protocol):
    """Where sandboxes come from."""

    async def start(self) -> None:
        """Probe the host, clear what a dead predecessor left, warm up. Raises `Misconfigured`."""

    async def acquire(self, spec: SandboxSpec) -> Sandbox:
        """Take a fresh sandbox. Raises `SandboxUnavailable` or `LanguageMissing`."""

    def is_ready(self, spec: SandboxSpec) -> bool:
        """Whether one waits, so that `acquire` will probably take it at once. Who cannot know says no."""

    def info(self) -> SandboxesInfo:
        """Say what runs here."""

    async def close(self) -> None:
        """Destroy every sandbox. Safe to call twice."""
