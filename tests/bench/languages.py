"""Hello world in runtimes that were started ahead, against the plain commands in a fresh bubblewrap.

The plain commands are what one would type: `node x.js`, `tsc` and node, `php x.php`, `Rscript x.R`, `javac`
and `java`. Both ways take turns, so that whatever else the machine does meets both.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import baselines
from measure import Samples
from rows import Row
from service import ROOT

sys.path.insert(0, str(ROOT))

from infra.cache_folder import cache_folder
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.protocol import Exit, Program, SandboxSpec
from sandboxes.toolchains import find_toolchains
from schemas.limits import SandboxLimits

LIMITS = SandboxLimits(cpus=2.0)
ROUNDS = 10


@dataclass(frozen=True)
class Language:
    """A program, the plain command that runs it in /src, and the budget."""

    code: str
    name: str
    file_name: str
    program: str
    command: str
    budget: float


_JAVA = 'public class Main { public static void main(String[] a) { System.out.println("hello"); } }'
LANGUAGES = (
    Language("js", "JavaScript", "x.js", 'console.log("hello")', "node x.js", 0.25),
    Language(
        "ts",
        "TypeScript",
        "x.ts",
        'const word: string = "hello"; console.log(word)',
        "{tsc} --outDir /tmp x.ts && node /tmp/x.js",
        0.05,
    ),
    Language("php", "PHP", "x.php", '<?php echo "hello\\n";', "php x.php", 0.3),
    Language("r", "R", "x.R", 'cat("hello\\n")', "Rscript x.R", 0.1),
    Language("java", "Java", "Main.java", _JAVA, "javac -d /tmp Main.java && java -cp /tmp Main", 0.15),
)


def measure() -> Iterator[Row]:
    """Yield a row for each language that is here."""
    yield from asyncio.run(_measure())


async def _measure() -> list[Row]:
    rows = []
    for language in LANGUAGES:
        config = LocalConfig(prestarted={language.code: 1}, warm_plain=0)
        sandboxes = LocalSandboxes(config, partial(find_toolchains, caches=cache_folder(os.environ)))
        await sandboxes.start()
        try:
            if lack := _lack(sandboxes, language):
                print(f"{language.name} is left out: {lack}")
            else:
                rows.append(await _row(sandboxes, language))
        finally:
            await sandboxes.close()
    return rows


def _lack(sandboxes: LocalSandboxes, language: Language) -> str:
    toolchain = sandboxes._toolchains[language.code]
    if toolchain.missing or toolchain.prestart is None:
        return toolchain.missing or toolchain.note
    if "{tsc}" in language.command and not shutil.which("tsc"):
        return "the yardstick, tsc, is not on PATH (npm install typescript)"
    return ""


async def _row(sandboxes: LocalSandboxes, language: Language) -> Row:
    ahead, cold = [], []
    with tempfile.TemporaryDirectory() as folder:
        command = cold_command(folder, language)
        for _ in range(ROUNDS + 1):
            ahead.append(await _ahead(sandboxes, language))
            await _ready(sandboxes, language.code)
            cold.append(_run(command))
    one, yardstick = Samples(ahead[1:]), Samples(cold[1:])
    return Row(f"{language.name}, started ahead", one.p50, yardstick.p50, "ms", language.budget, p99=one.p99)


def cold_command(folder: str, language: Language) -> Sequence[str]:
    """Return the plain command in a bubblewrap that sees /usr, /etc, the source in `folder`, and tsc."""
    Path(folder, language.file_name).write_text(language.program)
    tsc = Path(shutil.which("tsc") or "/usr/bin/tsc").resolve()
    shown = (
        [folder, "/src"] if tsc.is_relative_to("/usr") else [folder, "/src", "--ro-bind", *2 * [_home(tsc)]]
    )
    wall = baselines.COLD[: -len(baselines.PRINT)]
    line = language.command.format(tsc=tsc)
    binds = [
        "--ro-bind",
        "/etc",
        "/etc",
        "--ro-bind",
        *shown,
        "--setenv",
        "PATH",
        "/usr/local/bin:/usr/bin:/bin",
    ]
    return [*wall, *binds, "sh", "-c", f"cd /src && {line}"]


def _home(tsc: Path) -> str:
    return str(tsc.parent.parent)


def _run(command: Sequence[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin) * 1000


async def _ready(sandboxes: LocalSandboxes, code: str) -> None:
    while not next(status.warm for status in sandboxes.info().languages if status.code == code):
        await asyncio.sleep(0.02)


async def _ahead(sandboxes: LocalSandboxes, language: Language) -> float:
    """Return the milliseconds from the code to its exit, in a runtime that waits."""
    await _ready(sandboxes, language.code)
    begin = time.perf_counter()
    sandbox = await sandboxes.acquire(SandboxSpec("bench", language.code, LIMITS))
    try:
        async for frame in sandbox.run(Program(language.program)):
            if isinstance(frame, Exit):
                assert frame.exit_code == 0, frame
                return (time.perf_counter() - begin) * 1000
    finally:
        await sandbox.close()
    raise AssertionError("a run ends with an exit")
