"""Hello world in runtimes that were started ahead, against the plain commands in a fresh bubblewrap.

The plain commands are what one would type: `node x.js`, `tsc` and node, `php x.php`, `Rscript x.R`, `javac`
and `java`. Both ways take turns, so that whatever else the machine does meets both.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import baselines
from measure import Samples, run_command
from rows import Row, of_samples, one_by_one
from service import ROOT

sys.path.insert(0, str(ROOT))

from infra.cache_folder import cache_folder
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.protocol import Exit, Program, SandboxSpec
from sandboxes.toolchains import find_toolchains
from schemas.limits import SandboxLimits

LIMITS = SandboxLimits(cpus=2.0)
ROUNDS = 15


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
    yield from one_by_one(_measure())


async def _measure() -> AsyncGenerator[Row, None]:
    for language in LANGUAGES:
        config = LocalConfig(prestarted={language.code: 1}, warm_plain=0)
        sandboxes = LocalSandboxes(config, partial(find_toolchains, caches=cache_folder(os.environ)))
        await sandboxes.start()
        try:
            if lack := _lack(sandboxes, language):
                print(f"{language.name} is left out: {lack}")
            else:
                yield await _row(sandboxes, language)
        finally:
            await sandboxes.close()


def _lack(sandboxes: LocalSandboxes, language: Language) -> str:
    toolchain = sandboxes._toolchains[language.code]
    if toolchain.missing or toolchain.prestart is None:
        return toolchain.missing or toolchain.note
    if "{tsc}" in language.command and not toolchain.recipe.check:
        return "the yardstick, tsc, is not here (make languages)"
    return ""


async def _row(sandboxes: LocalSandboxes, language: Language) -> Row:
    ahead, cold = [], []
    with tempfile.TemporaryDirectory() as folder:
        command = cold_command(folder, language, sandboxes._toolchains[language.code].recipe.check)
        for _ in range(ROUNDS + 1):
            ahead.append(await _ahead(sandboxes, language))
            await _ready(sandboxes, language.code)
            cold.append(run_command(command))
    one, yardstick = Samples(ahead[1:]), Samples(cold[1:])
    return of_samples(f"{language.name}, started ahead", one, yardstick, language.budget)


def cold_command(folder: str, language: Language, tsc: Sequence[str]) -> Sequence[str]:
    """Return the plain command in a bubblewrap that sees /usr, /etc, the source in `folder`, and tsc."""
    Path(folder, language.file_name).write_text(language.program)
    places = [("/etc", "/etc"), (folder, "/src")]
    compiler = tsc[0] if tsc else ""
    if compiler:
        packages = str(Path(compiler).parents[3])
        places.append((packages, packages))
    binds = [word for place in places for word in ("--ro-bind", *place)]
    wall = baselines.COLD[: -len(baselines.PRINT)]
    line = language.command.format(tsc=compiler)
    path = ("--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin")
    return [*wall, *binds, *path, "sh", "-c", f"cd /src && {line}"]


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
