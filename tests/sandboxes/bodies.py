"""Every body of the sandbox protocol behind one fixture, and what a test wants from a run in one call."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import msgspec
import pytest

from sandboxes.fake import FakeSandboxes
from sandboxes.fake_script import (
    AnyStep,
    Break,
    Call,
    Delete,
    Die,
    Echo,
    End,
    Put,
    Show,
    Tell,
    Wait,
    Write,
    script,
)
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.protocol import Exit, FileChanges, OutputFrame, Program, Sandbox, Sandboxes, SandboxSpec
from sandboxes.toolchain import Toolchain
from schemas.limits import SandboxLimits
from schemas.tool_names import identifier_of

MIB = 1024 * 1024
LIMITS = SandboxLimits(timeout_s=20.0, memory_bytes_max=128 * MIB, cpus=2.0, pids_max=64)
WEAK_UID_FIRST = 61_000
"""Whoever has such an id is killed when an execution ends in tier D: not of the other tiers' range."""

Find = Callable[[int], Mapping[str, Toolchain]]


@dataclass
class Result:
    """What came of one execution."""

    exit: Exit
    stdout: bytes
    stderr: bytes
    changes: FileChanges
    files: dict[str, bytes] = field(default_factory=dict)
    """Contents of the produced files."""


@dataclass
class Body:
    """One implementation, and programs in the language it speaks."""

    name: str
    sandboxes: Sandboxes

    @property
    def is_real(self) -> bool:
        return self.name != "fake"

    @property
    def is_grouped(self) -> bool:
        """Whether control groups limit it."""
        return not self.name.endswith("B")

    guest_id = 1000
    """User and group as programs see them, where they have a user namespace."""

    def code(self, *steps: AnyStep) -> str:
        """Return a program that does these steps: a script for the fake, else Python."""
        return as_python(steps) if self.is_real else script(*steps)

    async def acquire(self, language: str = "py", code: str = "", **limits: object) -> Sandbox:
        asked = msgspec.structs.replace(LIMITS, **limits)
        return await self.sandboxes.acquire(SandboxSpec("test", language, asked, code=code))

    async def run(
        self,
        program: Program | str,
        *,
        language: str = "py",
        files: Mapping[str, bytes] = {},
        **limits: object,
    ) -> Result:
        """Run in a fresh sandbox, take everything out, close it."""
        program = Program(program) if isinstance(program, str) else program
        sandbox = await self.acquire(language, program.code, **limits)
        try:
            for name, content in files.items():
                await sandbox.put_file(name, pieces(content))
            return await finish(sandbox, program)
        finally:
            await sandbox.close()

    async def steps(self, *steps: AnyStep, **how: object) -> Result:
        """Run these steps; keywords of `Program` and `run` alike."""
        mine = {key: how.pop(key) for key in ("args", "env", "stdin", "keep_stdin_open") if key in how}
        return await self.run(replace(Program(self.code(*steps)), **mine), **how)


Stand = Callable[[str], Awaitable[Body]]
"""Gives a body by its name."""


async def finish(sandbox: Sandbox, program: Program) -> Result:
    """Run to the end and collect."""
    written = {"stdout": b"", "stderr": b""}
    exits = []
    async for frame in sandbox.run(program):
        assert not exits, "nothing comes after the exit"
        if isinstance(frame, OutputFrame):
            written[frame.stream] += frame.data
        else:
            exits.append(frame)
    changes = await sandbox.changes()
    files = {file.name: await read(sandbox, file.name) for file in changes.produced}
    return Result(exits[0], written["stdout"], written["stderr"], changes, files)


async def read(sandbox: Sandbox, name: str) -> bytes:
    return b"".join([chunk async for chunk in sandbox.read_file(name)])


async def pieces(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


def as_python(steps: tuple[AnyStep, ...]) -> str:
    return "\n".join(["import os, signal, sys, time", *(_line(step) for step in steps)])


_CALL = """
for result in await asyncio.gather(
    *({name}(**{given!r}) for _ in range({times})), return_exceptions=True
):
    failed = isinstance(result, Exception)
    import json
    print(f"failed: {{result}}" if failed else json.dumps(result, separators=(",", ":")), flush=True)
"""


def _line(step: AnyStep) -> str:  # noqa: C901, PLR0911, PLR0912 - a table
    match step:
        case Write(stream=stream, times=times):
            data = step.data()
            return f"for _ in range({times}): sys.{stream}.buffer.write({data!r}); sys.{stream}.flush()"
        case Wait(seconds):
            return f"time.sleep({min(seconds, 1e6)})"
        case Echo("line"):
            return "sys.stdout.write(sys.stdin.readline()); sys.stdout.flush()"
        case Echo():
            return "sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stdout.flush()"
        case Tell("args"):
            return "for word in sys.argv[1:]: print(word, flush=True)"
        case Tell():
            return "for item in os.environ.items(): print('='.join(item), flush=True)"
        case Put(name, text):
            folder = f"os.makedirs(os.path.dirname({name!r}) or '.', exist_ok=True); "
            return f"{folder}open({name!r}, 'w').write({text!r})"
        case Delete(name):
            return f"os.remove({name!r})"
        case Show(name):
            return f"sys.stdout.write(open({name!r}).read()); sys.stdout.flush()"
        case Call(name, given, times):
            return _CALL.format(name=identifier_of(name, "py"), given=given, times=times)
        case End(code):
            return f"sys.exit({code})"
        case Die(name):
            return f"os.kill(os.getpid(), signal.{name}); time.sleep(100)"
        case Break():
            raise NotImplementedError


def require(available: bool, reason: str) -> None:
    """Skip on a laptop, fail in CI."""
    if available:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


async def standing(name: str, toolchains: Find, **config: object) -> Sandboxes:
    """Start a body by name.

    `tier-A`, `warm` (A with waiting children), `tier-B` (no cgroups), `warm-B` (both), `tier-D` (a bubblewrap
    that fails, whatever cgroups there are), `fake`.
    """
    if name == "tier-D":
        return await _standing_weak(toolchains, **config)
    if name == "fake":
        return FakeSandboxes()
    require(shutil.which("bwrap") is not None, "bubblewrap is not installed")
    warm = {"warm_plain": 2 if name.startswith("warm") else 0, "warm_heavy": 0}
    grouped = not name.endswith("B")
    local = LocalSandboxes(LocalConfig(**{"use_cgroups": grouped} | warm | config), toolchains)
    await local.start()
    if grouped and local.info().tier != "A":
        require(False, f"this host gives no tier A: {local.info().notes}")
    if name.startswith("warm") and not any(language.warm for language in local.info().languages):
        require(False, f"nothing is warm here: {local.info().notes}")
    return local


async def _standing_weak(toolchains: Find, **config: object) -> Sandboxes:
    if os.geteuid() != 0:
        pytest.skip("tier D takes root: an ordinary user could give guests no user id but its own")
    weak = LocalSandboxes(
        LocalConfig(**{"allow_weak": True, "uid_first": WEAK_UID_FIRST} | config), toolchains
    )
    with patch("sandboxes.local.sandboxes.find_bwrap", return_value="/bin/false"):
        await weak.start()
    assert weak.info().tier == "D"
    return weak
