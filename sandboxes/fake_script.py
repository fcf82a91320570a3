"""What a pretended program can do: steps, one JSON object a line, and how they are played.

Whatever the language, a program for `sandboxes.fake` reads like this:

    {"do": "write", "text": "hello"}
    {"do": "sleep", "seconds": 0.5}
    {"do": "exit", "code": 3}

A line that is no step fails in stage `build`, as a syntax error would.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from sandboxes.protocol import Program, SandboxFailed, SavedState, StateOrder
from schemas.commands import ToolResult
from schemas.events import OutputStream, Stage

Sleep = Callable[[float], Awaitable[None]]
Ask = Callable[[str, dict[str, Any], int], Awaitable[list[ToolResult]]]
"""Calls the tool of a name with an input so many times at once."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended, before anybody counted what it used."""

    outcome: Literal["exited", "timed_out", "out_of_memory", "killed", "cancelled"]
    exit_code: int | None
    signal: str | None
    message: str
    stage: Stage = "run"


Said = tuple[OutputStream, bytes]


class Step(msgspec.Struct, frozen=True, tag_field="do", forbid_unknown_fields=True):
    """One line of a script."""


class Write(Step, frozen=True, tag="write"):
    """Write text, or bytes given as base64, `times` over."""

    text: str = ""
    base64: str = ""
    stream: OutputStream = "stdout"
    times: int = 1

    def data(self) -> bytes:
        """Return what is written at once."""
        return self.text.encode() + base64.b64decode(self.base64)


class Wait(Step, frozen=True, tag="sleep"):
    """Do nothing for a while; for ever without a number."""

    seconds: float = 1e9


class Echo(Step, frozen=True, tag="echo"):
    """Write back one line of stdin, or all of it up to its end."""

    what: Literal["line", "all"] = "all"


class Tell(Step, frozen=True, tag="tell"):
    """Write the arguments or the environment, a line for each."""

    what: Literal["args", "env"]


class Put(Step, frozen=True, tag="put"):
    """Make or replace a file."""

    name: str
    text: str = ""


class Delete(Step, frozen=True, tag="delete"):
    """Delete a file."""

    name: str


class Show(Step, frozen=True, tag="show"):
    """Write a file to stdout."""

    name: str


class Remember(Step, frozen=True, tag="remember"):
    """Set a variable of the session."""

    name: str
    text: str


class Recall(Step, frozen=True, tag="recall"):
    """Write a variable of the session; nothing where it is not set."""

    name: str


class Call(Step, frozen=True, tag="call"):
    """Call a tool, `times` at once, and write each result as a line of JSON, or `failed: ` and why."""

    name: str
    input: dict[str, Any] = {}
    times: int = 1


class End(Step, frozen=True, tag="exit"):
    """End with an exit code."""

    code: int = 0


class Die(Step, frozen=True, tag="die"):
    """End by a signal, or with any outcome of ours."""

    signal: str = "SIGKILL"
    outcome: Literal["killed", "out_of_memory"] = "killed"


class Break(Step, frozen=True, tag="break"):
    """Let the sandbox itself fail."""

    why: str = "The sandbox broke, as its script says."


AnyStep = Write | Wait | Echo | Tell | Put | Delete | Show | Remember | Recall | Call | End | Die | Break
_steps: msgspec.json.Decoder[AnyStep] = msgspec.json.Decoder(AnyStep)


def script(*steps: AnyStep) -> str:
    """Return the program that does these steps."""
    return "\n".join(msgspec.json.encode(step).decode() for step in steps)


class Player:
    """One program being played, with the files and the stdin it has."""

    def __init__(
        self, program: Program, files: dict[str, bytes], stdin: asyncio.StreamReader, sleep: Sleep, ask: Ask
    ) -> None:
        self._program = program
        self._ask = ask
        self._files = files
        self._stdin = stdin
        self._sleep = sleep
        self.variables = _variables(program.state)

    async def play(self) -> AsyncGenerator[Said | Ending, None]:
        """Yield what it says and, last, how it ended. Raises `SandboxFailed` where the script wants it."""
        try:
            steps = [_steps.decode(line) for line in self._program.code.splitlines() if line.strip()]
        except msgspec.DecodeError as error:
            yield "stderr", f"{error}\n".encode()
            yield Ending("exited", 1, None, "The build ended with exit code 1.", "build")
            return
        for step in steps:
            if ending := _ending(step):
                yield ending
                return
            async with aclosing(self._do(step)) as saying:
                async for said in saying:
                    yield said
        yield Ending("exited", 0, None, "The program ended normally.")

    def ends_at_once(self) -> Ending | None:
        """Return how it ends, if to end by itself is all it does."""
        try:
            step = _steps.decode(self._program.code)
        except msgspec.DecodeError:  # more than one, or none
            return None
        return None if isinstance(step, Break) else _ending(step)

    async def _do(self, step: AnyStep) -> AsyncGenerator[Said, None]:
        match step:
            case Wait(seconds):
                await self._sleep(seconds)
            case Put() | Delete() | Remember():
                self._change(step)
            case Write():
                for _ in range(step.times):
                    yield step.stream, step.data()
            case Call():
                for result in await self._ask(step.name, step.input, step.times):
                    yield "stdout", _told(result)
            case Echo(what):
                yield "stdout", await (self._stdin.readline if what == "line" else self._stdin.read)()
            case _:
                yield "stdout", self._known(step)

    def _change(self, step: Put | Delete | Remember) -> None:
        match step:
            case Put(name, text):
                self._files[name] = text.encode()
            case Delete(name):
                self._files.pop(name, None)
            case Remember(name, text):
                self.variables[name] = text

    def _known(self, step: AnyStep) -> bytes:
        match step:
            case Show(name):
                return self._files.get(name, b"")
            case Recall(name):
                return self.variables.get(name, "").encode()
            case Tell("args"):
                return _lines(self._program.args)
            case _:
                return _lines([f"{name}={value}" for name, value in self._program.env.items()])


def _told(result: ToolResult) -> bytes:
    if result.is_error:
        return f"failed: {result.error_message}\n".encode()
    return msgspec.json.encode(result.result) + b"\n"


def _ending(step: AnyStep) -> Ending | None:
    match step:
        case End(code):
            message = f"The program ended with exit code {code}." if code else "The program ended normally."
            return Ending("exited", code, None, message)
        case Die(name, outcome):
            return Ending(outcome, None, name, f"The program was ended by {name}.")
        case Break(why):
            raise SandboxFailed(why)
    return None


def saved_variables(order: StateOrder | None, variables: dict[str, str], ending: Ending) -> SavedState:
    """Return what is saved of `variables` after `ending`."""
    if order is None or ending.exit_code is None or (ending.exit_code and not order.on_error):
        return SavedState()
    data = msgspec.json.encode(variables)
    return SavedState(data) if len(data) <= order.bytes_max else SavedState(note="They take too much.")


def _variables(order: StateOrder | None) -> dict[str, str]:
    if order is None or order.before is None:
        return {}
    try:
        return msgspec.json.decode(order.before, type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def _lines(words: Sequence[str]) -> bytes:
    return "".join(f"{word}\n" for word in words).encode()
