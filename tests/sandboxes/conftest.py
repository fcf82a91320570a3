"""Every body of the sandbox protocol behind one fixture."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from infra.tasks import end_tasks
from sandboxes.toolchain import Toolchain
from sandboxes.toolchains import find_toolchains
from tests.sandboxes.bodies import Body, Find, Stand, standing
from tests.sandboxes.weak_exceptions import excuse


@pytest.fixture(scope="session")
def toolchains(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Find languages once for all tests."""
    found: dict[int, Mapping[str, Toolchain]] = {}
    caches: Path = tmp_path_factory.mktemp("caches")

    def find(uid: int) -> Mapping[str, Toolchain]:
        if uid not in found:
            found[uid] = find_toolchains(uid, caches)
        return found[uid]

    return find


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stand(toolchains: Find) -> AsyncIterator[Stand]:
    """Give bodies by name. Each starts when it is first asked for and serves all tests of this process.

    They live in the loop of the session, and so do the tests that use them.
    """
    made: dict[str, Body] = {}

    async def get(name: str) -> Body:
        if name not in made:
            made[name] = Body(name, await standing(name, toolchains))
        return made[name]

    yield get
    for body in made.values():
        await body.sandboxes.close()


@pytest_asyncio.fixture(loop_scope="session", params=["tier-A", "warm", "tier-B", "warm-B", "tier-D", "fake"])
async def body(request: pytest.FixtureRequest, stand: Stand) -> AsyncIterator[Body]:
    """Every body in turn."""
    yield await stand(request.param)
    await end_overdue_tests()


@pytest_asyncio.fixture(loop_scope="session", params=["tier-A", "warm", "tier-B", "warm-B"])
async def local(request: pytest.FixtureRequest, stand: Stand) -> AsyncIterator[Body]:
    """Those that isolate, in turn."""
    yield await stand(request.param)
    await end_overdue_tests()


async def end_overdue_tests() -> None:
    """A test whose time was over would go on in the loop that all share."""
    names = {task: task.get_coro().__name__ for task in asyncio.all_tasks()}
    await end_tasks(*(task for task, name in names.items() if name.startswith("test_")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what tier D does not promise."""
    excuse(items)
