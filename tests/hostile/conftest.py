"""Attacks run on every tier this machine can produce, and after each one the next execution must work."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from infra.cache_folder import cache_folder
from sandboxes.protocol import LanguageMissing
from sandboxes.toolchain import Toolchain
from sandboxes.toolchains import find_toolchains
from tests.brokers import absent
from tests.sandboxes.bodies import Body, Result, Stand, standing
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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stand(found: dict[int, dict[str, Toolchain]]) -> AsyncIterator[Stand]:
    """Give bodies by name, each the same one for all attacks: what one breaks, the next ones find broken."""
    made: dict[str, Body] = {}

    async def get(name: str) -> Body:
        if name not in made:
            made[name] = Body(name, await standing(name, find_in(found)))
        return made[name]

    yield get
    for body in made.values():
        await body.sandboxes.close()


@pytest_asyncio.fixture(loop_scope="session", params=["tier-A", "warm", "tier-B", "warm-B", "tier-D"])
async def body(request: pytest.FixtureRequest, stand: Stand) -> Body:
    return await stand(request.param)


@pytest_asyncio.fixture(loop_scope="session")
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
