"""Runtimes that start ahead: what a program sees of it is nothing, and no two programs share one."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial

import psutil
import pytest
import pytest_asyncio

from infra.cache_folder import cache_folder
from sandboxes.local import LocalSandboxes
from sandboxes.protocol import Program, SandboxSpec
from sandboxes.toolchains import find_toolchains
from schemas.limits import SandboxLimits
from tests.sandboxes.ahead import acquire, waiting
from tests.sandboxes.bodies import MIB, Result, finish, standing

LIMITS = SandboxLimits(cpus=2.0)
LANGUAGES = ("js", "ts", "php", "r", "java")
find = partial(find_toolchains, caches=cache_folder(os.environ))
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["tier-A", "tier-B"])
async def ahead(request: pytest.FixtureRequest) -> AsyncIterator[LocalSandboxes]:
    """Sandboxes in which one runtime of each language waits."""
    local = await standing(request.param, find, prestarted=dict.fromkeys(LANGUAGES, 1), warm_plain=0)
    assert isinstance(local, LocalSandboxes)
    yield local
    await local.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cold() -> AsyncIterator[LocalSandboxes]:
    """Sandboxes in which nothing waits."""
    local = await standing("tier-B", find, warm_plain=0)
    assert isinstance(local, LocalSandboxes)
    yield local
    await local.close()


async def run(local: LocalSandboxes, language: str, program: Program | str, **limits: object) -> Result:
    """Run once, in a runtime that waited if there are any."""
    program = Program(program) if isinstance(program, str) else program
    asked = SandboxLimits(**{"cpus": 2.0, **limits})
    sandbox = await acquire(local, SandboxSpec("test", language, asked))
    try:
        return await finish(sandbox, program)
    finally:
        await sandbox.close()


SURROUNDINGS = {
    "js": """
        const facts = [process.env, process.argv, process.execArgv, __filename, process.cwd(), process.title,
            require.main === module, module.paths, Object.keys(require.cache), Object.keys(globalThis)];
        console.log(JSON.stringify(facts));""",
    "ts": """
        declare const process: any;
        console.log(JSON.stringify([process.env, process.argv, process.execArgv, process.cwd()]));""",
    "php": """<?php
        declare(strict_types=1);
        ksort($_ENV);
        $environment = getenv();
        ksort($environment);
        echo json_encode([$environment, $_ENV, $argv, $argc, $_SERVER['argv'], __FILE__, getcwd(),
            array_keys(get_defined_vars()), $_SERVER['REQUEST_TIME'] >= time() - 2]), "\\n";""",
    "r": """
        all <- Sys.getenv()
        print(all[sort(setdiff(names(all), "R_SESSION_TMPDIR"))])
        print(list(commandArgs(), commandArgs(trailingOnly = TRUE), search(), getwd(), ls(all.names = TRUE)))
        print(environmentName(environment(commandArgs)))""",
    "java": """
        import java.util.*;
        public class Look { public static void main(String[] args) {
            System.out.println(new TreeMap<>(System.getenv()) + " " + Arrays.toString(args));
            for (String name : List.of("java.class.path", "user.dir", "file.encoding", "user.home"))
                System.out.println(System.getProperty(name));
            System.out.println(Thread.currentThread().getName() + Thread.activeCount());
        } }""",
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_program_sees_what_it_would_see_cold(
    ahead: LocalSandboxes, cold: LocalSandboxes, language: str
) -> None:
    """Environment, arguments, names of files and of all that is defined."""
    program = Program(SURROUNDINGS[language], ["a b", "", "--x", "ž%20\n"])
    expected, result = await run(cold, language, program), await run(ahead, language, program)
    assert expected.exit.exit_code == 0, expected
    assert (result.stdout, result.stderr) == (expected.stdout, expected.stderr)


FAILING = {
    "js": "function f() { null.x }\n\nf()",
    "ts": "interface A { b: string }\nfunction f(): A { throw new Error('no') }\nf()",
    "php": "<?php\nfunction f() { throw new Exception('no'); }\n\nf();",
    "r": "f <- function() stop('no')\n\nf()",
    "java": 'class A { static void f() { throw new RuntimeException(new Error("no")); }\n'
    "public static void main(String[] a) { f(); } }",
}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_an_error_nobody_caught_reads_as_it_does_cold(
    ahead: LocalSandboxes, cold: LocalSandboxes, language: str
) -> None:
    """The user's file, the user's lines, and nothing of ours."""
    expected, result = (
        await run(cold, language, FAILING[language]),
        await run(ahead, language, FAILING[language]),
    )
    assert expected.exit.exit_code not in (0, None)
    assert (result.exit.exit_code, result.exit.stage) == (expected.exit.exit_code, "run"), result
    assert result.stderr == expected.stderr


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_program_with_an_environment_of_its_own_gets_it(ahead: LocalSandboxes, language: str) -> None:
    """Variables that runtimes read at their start work too, for then it starts again."""
    result = await run(ahead, language, Program(SURROUNDINGS[language], env={"MY_NAME": "Ada"}))
    assert (result.exit.exit_code, b"MY_NAME" in result.stdout) == (0, True)


LEAVING = {
    "js": "require('fs').writeFileSync('/tmp/left', ''); globalThis.left = 1",
    "php": "<?php touch('/tmp/left');",
    "r": "file.create('/tmp/left'); left <- 1",
}
LOOKING = {
    "js": "console.log(require('fs').existsSync('/tmp/left'), typeof left)",
    "php": "<?php echo json_encode(file_exists('/tmp/left'));",
    "r": "cat(file.exists('/tmp/left'), exists('left'))",
}


@pytest.mark.parametrize("language", LEAVING)
async def test_nothing_is_left_for_the_next(ahead: LocalSandboxes, language: str) -> None:
    await run(ahead, language, LEAVING[language])
    result = await run(ahead, language, LOOKING[language])
    assert b"true" not in result.stdout.lower()
    assert b"number" not in result.stdout


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import fs from 'fs'; console.log(typeof fs.readFileSync)", "function"),
        ("import('fs').then(fs => console.log(typeof fs.readFileSync))", "function"),
        ("new (require('worker_threads').Worker)('console.log(7)', { eval: true })", "7"),
        (
            "require('child_process').execFileSync(process.execPath, ['-p', '6*7'], { stdio: 'inherit' })",
            "42",
        ),
        ("process.on('exit', () => console.log('bye')); setTimeout(() => process.exit(0), 1)", "bye"),
    ],
)
async def test_node_is_whole(ahead: LocalSandboxes, code: str, said: str) -> None:
    """Modules of both kinds, threads, children, handlers."""
    result = await run(ahead, "js", code)
    assert (result.stdout.decode().strip(), result.stderr, result.exit.exit_code) == (said, b"", 0)


async def test_a_java_program_without_a_main_is_told_so_by_java(ahead: LocalSandboxes) -> None:
    result = await run(ahead, "java", "public class A { }")
    assert (result.exit.exit_code, result.exit.stage) == (1, "run")
    assert b"main" in result.stderr.lower()


LIMITS_TOLD = "console.log(require('fs').readFileSync('/proc/self/limits', 'latin1'))"


async def test_the_limits_are_those_of_the_execution(ahead: LocalSandboxes) -> None:
    """They were not known when the runtime started."""
    result = await run(ahead, "js", LIMITS_TOLD, open_files_max=123)
    lines = result.stdout.decode().splitlines()
    assert [line.split()[3:5] for line in lines if line.startswith("Max open files")] == [["123", "123"]]
    assert [line.split()[4:6] for line in lines if line.startswith("Max core file")] == [["0", "0"]]


async def test_limits_that_change_from_one_execution_to_the_next_are_each_ones_own(
    ahead: LocalSandboxes,
) -> None:
    """What waits is under the limits of the one before; it is put under lower ones, or of no use."""
    for asked in (123, 123, 99, 200):
        while not waiting(ahead, "js"):
            await asyncio.sleep(0.01)
        limits = SandboxLimits(memory_bytes_max=512 * MIB, open_files_max=asked)
        sandbox = await ahead.acquire(SandboxSpec("test", "js", limits))
        result = await finish(sandbox, Program(LIMITS_TOLD))
        await sandbox.close()
        assert f"Max open files            {asked} " in result.stdout.decode()


async def test_memory_is_limited_to_what_the_execution_may_use(ahead: LocalSandboxes) -> None:
    hungry = "const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1))"
    result = await run(ahead, "js", hungry, memory_bytes_max=100 * MIB)
    assert result.exit.outcome == "out_of_memory"


async def test_less_memory_than_the_runtime_holds_already_ends_as_it_would_cold(
    ahead: LocalSandboxes,
) -> None:
    """Then nothing that waits will do."""
    asked = SandboxLimits(memory_bytes_max=2 * MIB, cpus=2.0)
    while not waiting(ahead, "js"):
        await asyncio.sleep(0.01)
    sandbox = await ahead.acquire(SandboxSpec("test", "js", asked))
    result = await finish(sandbox, Program("console.log(1)"))
    await sandbox.close()
    assert result.exit.outcome == "out_of_memory"


async def test_what_the_start_has_cost_is_not_the_programs(ahead: LocalSandboxes) -> None:
    """A started Java has used much more than a program that does nothing."""
    sandbox = await acquire(ahead, SandboxSpec("test", "java", LIMITS))
    before = sandbox._account._cpu_s_before
    result = await finish(sandbox, Program("class A { public static void main(String[] a) { } }"))
    whole = sandbox._account._usage_of_all(sandbox._ended).cpu_s
    await sandbox.close()
    assert before > 0
    assert result.exit.cpu_s <= whole - before + 0.02


async def test_a_runtime_that_died_waiting_is_replaced() -> None:
    others = {each.pid for each in psutil.Process().children(recursive=True)}
    local = await standing("tier-A", find, prestarted={"php": 1}, warm_plain=0)
    assert isinstance(local, LocalSandboxes)
    while not waiting(local, "php"):
        await asyncio.sleep(0.01)
    new = [each for each in psutil.Process().children(recursive=True) if each.pid not in others]
    runtime = next(each for each in new if each.name() == "php")
    runtime.kill()
    runtime.wait()
    sandbox = await local.acquire(SandboxSpec("test", "php", LIMITS))
    result = await finish(sandbox, Program("<?php echo 1;"))
    assert result.stdout == b"1"
    await sandbox.close()
    assert (await run(local, "php", "<?php echo 2;")).stdout == b"2"
    await local.close()


async def test_closing_leaves_nothing_of_what_waited() -> None:
    """No process and no descriptor, also of runtimes that were still starting."""
    before = psutil.Process().num_fds()
    children = len(psutil.Process().children(recursive=True))
    for language in ("php", "js"):
        local = await standing("tier-A", find, prestarted={language: 2}, warm_plain=0)
        while not waiting(local, language):
            await asyncio.sleep(0.01)
        await local.close()
    assert len(psutil.Process().children(recursive=True)) == children
    assert psutil.Process().num_fds() == before


async def test_a_service_that_idles_starts_nothing_before_the_language_is_used() -> None:
    local = await standing("tier-A", find, prestarted={"php": 1, "js": 1}, prestart_at_once=False)
    assert isinstance(local, LocalSandboxes)
    sandbox = await local.acquire(SandboxSpec("test", "php", LIMITS))
    assert (await finish(sandbox, Program("<?php echo 1;"))).stdout == b"1"
    await sandbox.close()
    assert (await run(local, "php", "<?php echo 2;")).stdout == b"2"
    assert waiting(local, "js") == 0
    await local.close()
