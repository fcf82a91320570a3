"""TypeScript runs without a look at types, unless the request wants one."""

import os

import msgspec
import pytest
import pytest_asyncio

from infra.cache_folder import cache_folder
from sandboxes.languages import recipe_for
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.protocol import LanguageMissing, Program, SandboxSpec
from sandboxes.toolchains import find_toolchains
from tests.sandboxes.bodies import LIMITS, Body, Find, Result, finish, require, standing

WRONG = 'const n: number = "seven";\nconsole.log(n);\n'
RIGHT = """
import * as fs from "fs";
enum E { A = 7 }
console.log(E.A, fs.existsSync("/"), process.argv[2]);
"""


in_one_loop = pytest.mark.asyncio(loop_scope="module")


async def check(body: Body, code: str, *args: str) -> Result:
    # the compiler is a garbage-collected program of its own
    limits = msgspec.structs.replace(LIMITS, memory_bytes_max=4 * LIMITS.memory_bytes_max)
    sandbox = await body.sandboxes.acquire(SandboxSpec("test", "ts", limits, check_types=True))
    try:
        return await finish(sandbox, Program(code, args))
    finally:
        await sandbox.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["tier-A", "tier-B"])
async def checking(request: pytest.FixtureRequest):
    body = Body(
        request.param,
        await standing(request.param, lambda uid: find_toolchains(uid, cache_folder(os.environ))),
    )
    recipe = body.sandboxes._toolchains["ts"].recipe
    try:
        require(bool(recipe.check), "what checks types is not installed (make languages)")
        yield body
    finally:
        await body.sandboxes.close()


@in_one_loop
async def test_a_wrong_type_is_an_error_of_the_build_and_nothing_runs(checking: Body) -> None:
    result = await check(checking, WRONG)
    assert (result.exit.stage, result.exit.outcome, result.exit.exit_code) == ("build", "exited", 1)
    assert b"main.ts(1,7): error TS2322: Type 'string' is not assignable to type 'number'." in result.stderr
    assert result.stdout == b""


@in_one_loop
async def test_right_types_run_with_nodes_own_library_known(checking: Body) -> None:
    result = await check(checking, RIGHT, "word")
    assert (result.exit.stage, result.exit.exit_code, result.stdout) == ("run", 0, b"7 true word\n")
    assert result.stderr == b""


@in_one_loop
async def test_without_the_option_a_wrong_type_runs(checking: Body) -> None:
    result = await checking.run(WRONG, language="ts")
    assert (result.exit.exit_code, result.stdout) == (0, b"seven\n")


async def test_where_nothing_checks_types_the_cure_is_named(toolchains: Find) -> None:
    sandboxes = LocalSandboxes(LocalConfig(use_cgroups=False, warm_plain=0), toolchains)
    await sandboxes.start()
    try:
        with pytest.raises(LanguageMissing, match="make languages"):
            await sandboxes.acquire(SandboxSpec("test", "ts", LIMITS, check_types=True))
    finally:
        await sandboxes.close()


def test_only_what_says_so_in_the_table_checks_types_on_request() -> None:
    """The words on the wire and the table of languages agree."""
    from schemas.languages import CHECKED_ON_REQUEST, LANGUAGE_CODES

    assert tuple(code for code in LANGUAGE_CODES if recipe_for(code).check) == CHECKED_ON_REQUEST
