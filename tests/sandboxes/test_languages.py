"""Every language of the table, built and run for real in local sandboxes, cold and started ahead."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from sandboxes.local.config import LocalConfig
from sandboxes.local.sandboxes import LocalSandboxes
from sandboxes.protocol import Exit, OutputFrame, Program, SandboxSpec
from sandboxes.toolchains import find_toolchains
from schemas.languages import LANGUAGES
from schemas.limits import SandboxLimits
from tests.brokers import absent
from tests.sandboxes.ahead import acquire

HERE = Path(__file__).parent
HELLO = HERE.parent.parent / "examples" / "hello"
LIMITS = SandboxLimits(timeout_s=30, cpus=2.0, memory_bytes_max=512 * 1024 * 1024)
CODES = [language.code for language in LANGUAGES]
NAMES = {language.code: language.name for language in LANGUAGES}

PRESTARTED = ("js", "ts", "php", "r", "java")
STARTS = ("cold", "prestarted")
ALL = [*(("cold", code) for code in CODES), *(("prestarted", code) for code in PRESTARTED)]
"""How a runtime starts must not be told from what a program sees: every test runs both ways."""
HEAVY = {"go", "java", "cpp", "rs", "d"}
"""Whose compilers take seconds: in `make test` they say hello, the rest is for `make test-languages`."""
CASES = [case if case[1] not in HEAVY else pytest.param(*case, marks=pytest.mark.languages) for case in ALL]

pytestmark = pytest.mark.asyncio(loop_scope="module")
thoroughly = pytest.mark.languages
all_languages = pytest.mark.parametrize(("sandboxes", "language"), ALL, indirect=["sandboxes"])
every_language = pytest.mark.parametrize(("sandboxes", "language"), CASES, indirect=["sandboxes"])
both_starts = pytest.mark.parametrize("sandboxes", STARTS, indirect=True)
cold = pytest.mark.parametrize("sandboxes", ["cold"], indirect=True)


@dataclass
class Told:
    """What came out of one run."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit: Exit | None = None
    produced: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """Standard output, by the line."""
        return self.stdout.decode().splitlines()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started() -> AsyncIterator[Callable[[str], Awaitable[LocalSandboxes]]]:
    """Give sandboxes by how a runtime starts, each made once for all tests; skipped if none can isolate."""
    made: dict[str, LocalSandboxes] = {}

    async def get(start: str) -> LocalSandboxes:
        if start not in made:
            made[start] = await _start(ahead=start == "prestarted")
        return made[start]

    yield get
    for local in made.values():
        await local.close()


async def _start(*, ahead: bool) -> LocalSandboxes:
    config = LocalConfig(prestarted=dict.fromkeys(PRESTARTED, 1), warm_plain=0) if ahead else LocalConfig()
    local = LocalSandboxes(config, partial(find_toolchains, caches=cache_folder(os.environ)))
    try:
        await local.start()
    except Misconfigured as lack:
        absent(str(lack))
    return local


@pytest_asyncio.fixture(loop_scope="module")
async def sandboxes(
    request: pytest.FixtureRequest, started: Callable[[str], Awaitable[LocalSandboxes]]
) -> LocalSandboxes:
    """Local sandboxes of this machine."""
    return await started(request.param)


async def run(
    sandboxes: LocalSandboxes,
    language: str,
    code: str,
    *args: str,
    stdin: bytes = b"",
    limits: SandboxLimits = LIMITS,
) -> Told:
    """Run `code` once; skipped where the language is not installed, unless in CI."""
    status = next(status for status in sandboxes.info().languages if status.code == language)
    if not status.available and os.environ.get("CI") != "true":
        pytest.skip(status.missing)
    told = Told()
    sandbox = await acquire(sandboxes, SandboxSpec("test", language, limits))
    try:
        async with aclosing(sandbox.run(Program(code, args, stdin=stdin))) as frames:
            async for frame in frames:
                if isinstance(frame, OutputFrame):
                    setattr(told, frame.stream, getattr(told, frame.stream) + frame.data)
                else:
                    told.exit = frame
        told.produced = [file.name for file in (await sandbox.changes()).produced]
    finally:
        await sandbox.close()
    return told


async def run_mode(sandboxes: LocalSandboxes, language: str, *args: str, **more: object) -> Told:
    """Run the language's program of tests/sandboxes/programs, which does what its first argument says."""
    file_name = next(each.file_name for each in LANGUAGES if each.code == language)
    code = (HERE / "programs" / file_name).read_text()
    return await run(sandboxes, language, code, *args, **more)  # type: ignore[arg-type]


def ended(told: Told) -> tuple[str, str, int | None]:
    """Return outcome, stage and exit code."""
    assert told.exit is not None
    return told.exit.outcome, told.exit.stage, told.exit.exit_code


def hello_source(language: str) -> str:
    """Return the example that greets in a language."""
    suffix = Path(next(each.file_name for each in LANGUAGES if each.code == language)).suffix
    (source,) = [path for path in HELLO.iterdir() if path.suffix == suffix]
    return source.read_text()


@all_languages
async def test_hello_world(sandboxes: LocalSandboxes, language: str) -> None:
    """The examples run, say nothing on stderr, and leave no file behind."""
    told = await run(sandboxes, language, hello_source(language))
    assert (told.stdout.decode(), told.stderr) == (f"Hello from {NAMES[language]}\n", b""), told
    assert ended(told) == ("exited", "run", 0)
    assert told.produced == []


@every_language
async def test_stdin_reaches_the_program_and_ends(sandboxes: LocalSandboxes, language: str) -> None:
    """Every line of stdin arrives, then end of file."""
    told = await run_mode(sandboxes, language, "echo", stdin=b"one\ntwo words\n")
    assert told.lines == ["got one", "got two words"], told


@every_language
async def test_arguments_arrive_as_they_are(sandboxes: LocalSandboxes, language: str) -> None:
    """Nothing splits, expands or drops them."""
    told = await run_mode(sandboxes, language, "args", "a b", "$HOME", "*", "--version", "ž")
    assert told.lines == ["a b", "$HOME", "*", "--version", "ž"], told


@every_language
async def test_exit_code_is_the_programs(sandboxes: LocalSandboxes, language: str) -> None:
    """An exit code other than zero is an ordinary end."""
    told = await run_mode(sandboxes, language, "exit")
    assert ended(told) == ("exited", "run", 3), told


@every_language
async def test_stderr_is_kept_apart(sandboxes: LocalSandboxes, language: str) -> None:
    """What is written to stderr is not in stdout."""
    told = await run_mode(sandboxes, language, "stderr")
    assert (told.stdout, told.stderr) == (b"", b"oops\n")


@every_language
async def test_crash_names_the_signal(sandboxes: LocalSandboxes, language: str) -> None:
    """A program that dies of a signal was killed, and the signal is told."""
    told = await run_mode(sandboxes, language, "crash")
    assert ended(told) == ("killed", "run", None), told
    assert told.exit is not None
    assert told.exit.signal in ("SIGABRT", "SIGKILL")


@every_language
async def test_unicode_is_utf_8(sandboxes: LocalSandboxes, language: str) -> None:
    """Source files and output are UTF-8 in every language."""
    told = await run_mode(sandboxes, language, "unicode")
    assert told.stdout.decode().strip() == "žluťoučký 🐎 漢字"


@every_language
async def test_many_lines_come_in_order(sandboxes: LocalSandboxes, language: str) -> None:
    """Two hundred lines, none lost, none swapped."""
    told = await run_mode(sandboxes, language, "lines")
    assert told.lines == [f"line {number}" for number in range(1, 201)], told


@every_language
async def test_too_much_memory_is_told_as_such(sandboxes: LocalSandboxes, language: str) -> None:
    """Whatever a language does when memory ends, the outcome says out of memory."""
    if sandboxes.info().tier != "A":
        pytest.skip("without cgroups no limit holds for the whole group")
    limits = SandboxLimits(timeout_s=60, cpus=2.0, memory_bytes_max=256 * 1024 * 1024)
    told = await run_mode(sandboxes, language, "memory", limits=limits)
    assert ended(told)[:2] == ("out_of_memory", "run"), told


@thoroughly
@cold
async def test_endless_loops_time_out_with_their_output(sandboxes: LocalSandboxes) -> None:
    """What was printed before the end is there: no language keeps it in a buffer of its own."""
    limits = SandboxLimits(timeout_s=12, cpus=2.0)
    here = [status.code for status in sandboxes.info().languages if status.available]
    all_told = await asyncio.gather(*(run_mode(sandboxes, code, "loop", limits=limits) for code in here))
    ends = {code: (ended(told), told.lines, told.stderr) for code, told in zip(here, all_told, strict=True)}
    assert ends == dict.fromkeys(here, (("timed_out", "run", None), ["before"], b""))


@every_language
async def test_file_in_the_working_directory_is_produced(sandboxes: LocalSandboxes, language: str) -> None:
    """And nothing else is: neither the source nor what was built from it."""
    told = await run_mode(sandboxes, language, "file")
    assert told.produced == ["out.txt"], told


COMPILED = {
    "ts": ("let x: = 1;", b"main.ts"),
    "go": ("package main\nfunc main() { undefinedName() }\n", b"undefinedName"),
    "java": ("public class Main { void f() { undefinedName(); } }", b"undefinedName"),
    "c": ("int main(void) { return undefinedName; }", b"undefinedName"),
    "cpp": ("#include <iostream>\nint main() { return undefinedName; }", b"undefinedName"),
    "rs": ("fn main() { undefined_name(); }", b"undefined_name"),
    "f90": ("program p\n  implicit none\n  print *, undefinedName\nend program p\n", b"undefinedname"),
    "d": ("void main() { undefinedName(); }", b"undefinedName"),
}


@pytest.mark.parametrize(
    ("sandboxes", "language"), [case for case in ALL if case[1] in COMPILED], indirect=["sandboxes"]
)
async def test_compile_error_ends_in_stage_build(sandboxes: LocalSandboxes, language: str) -> None:
    """The compiler's message is the program's stderr, and that is an ordinary end."""
    code, word = COMPILED[language]
    told = await run(sandboxes, language, code)
    assert ended(told)[:2] == ("exited", "build"), told
    assert ended(told)[2] not in (0, None)
    assert word in told.stderr
    assert told.stdout == b""


UNFINISHED = {"py": "print((", "js": "let = (", "php": "<?php echo (", "r": "cat((", "bash": "if true"}


@pytest.mark.parametrize(
    ("sandboxes", "language"), [case for case in ALL if case[1] in UNFINISHED], indirect=["sandboxes"]
)
async def test_syntax_error_of_an_interpreter_is_told_on_stderr(
    sandboxes: LocalSandboxes, language: str
) -> None:
    """Languages without a build step fail as their interpreter does."""
    told = await run(sandboxes, language, UNFINISHED[language])
    assert ended(told)[:2] == ("exited", "run"), told
    assert ended(told)[2] not in (0, None)
    assert told.stderr


@cold
async def test_bash_has_the_usual_companions(sandboxes: LocalSandboxes) -> None:
    """People pipe through jq, awk, bc and python3."""
    code = """echo '{"a": [1, 2]}' | jq -c .a; seq 3 | awk '{s += $1} END {print s}'
    echo '2^10' | bc; python3 -c 'print(6 * 7)'; printf 'b\\na\\n' | sort | head -1"""
    told = await run(sandboxes, "bash", code)
    assert told.lines == ["[1,2]", "6", "1024", "42", "a"]


JAVA_MAIN = "public static void main(String... a) { System.out.println(1); }"


@thoroughly
@both_starts
@pytest.mark.parametrize(
    "code",
    [
        f"class Greeter {{ {JAVA_MAIN} }}",
        f"package a.b;\npublic class C {{ {JAVA_MAIN} }}",
        f"interface A {{}}\n// class X\npublic final class C {{ static class D {{}} {JAVA_MAIN} }}",
    ],
)
async def test_java_classes_may_have_any_name(sandboxes: LocalSandboxes, code: str) -> None:
    """The file name and the main class follow the code."""
    assert (await run(sandboxes, "java", code)).lines == ["1"]


@both_starts
@pytest.mark.parametrize(
    "code", ["import fs from 'fs'; console.log(typeof fs)", "console.log(typeof await 1)"]
)
async def test_typescript_may_be_a_module(sandboxes: LocalSandboxes, code: str) -> None:
    """Imports and top-level await work as they do in a module of Node's."""
    told = await run(sandboxes, "ts", code)
    assert ended(told) == ("exited", "run", 0), told


@both_starts
async def test_typescript_errors_name_the_users_own_lines(sandboxes: LocalSandboxes) -> None:
    """A stack trace points into main.ts, not into what was made from it."""
    code = (
        "interface A {\n  b: string;\n}\n\nconst a: A | undefined = undefined as any;\nconsole.log(a!.b);\n"
    )
    assert b"main.ts:6" in (await run(sandboxes, "ts", code)).stderr
