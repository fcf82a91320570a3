"""Attacks run on every tier this machine can produce, and after each one the next execution must work."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from infra.cache_folder import cache_folder
from sandboxes.protocol import LanguageMissing
from sandboxes.toolchain import Toolchain
from sandboxes.toolchains import find_toolchains
from tests.brokers import absent
from tests.sandboxes.bodies import Body, Result, standing
from tests.sandboxes.weak_exceptions import excuse

Attack = Callable[..., Awaitable[Result]]


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Toolchain]]:
    return {}


def find_in(found: dict[int, dict[str, Toolchain]]) -> Callable[[int], dict[str, Toolchain]]:
    """Return a finder of languages that looks once for each user."""

    def find(uid: int) -> dict[str, Toolchain]:
        if uid not in found:
            found[uid] = find_toolchains(uid, cache_folder(os.environ))
        return found[uid]

    return find


@pytest.fixture(params=["tier-A", "warm", "tier-B", "warm-B", "tier-D"])
async def body(request: pytest.FixtureRequest, found: dict[int, dict[str, Toolchain]]) -> AsyncIterator[Body]:
    sandboxes = await standing(request.param, find_in(found))
    yield Body(request.param, sandboxes)
    await sandboxes.close()


@pytest.fixture
async def attack(body: Body) -> AsyncIterator[Attack]:
    """Run hostile code with the tests' limits and three seconds; afterwards a normal run must be well."""

    async def run(code: str, *, language: str = "py", **limits: object) -> Result:
        if language != "py" and body.name.startswith("warm"):
            pytest.skip("only Python is warm; the rest is as in the same tier without")
        try:
            return await body.run(code, language=language, **{"timeout_s": 3.0, **limits})
        except LanguageMissing as missing:
            absent(str(missing))

    yield run
    after = await body.run("print(6 * 7)")
    assert (after.exit.outcome, after.stdout) == ("exited", b"42\n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what tier D does not promise."""
    excuse(items)
