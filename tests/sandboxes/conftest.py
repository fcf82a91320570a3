"""Every body of the sandbox protocol behind one fixture."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from sandboxes.toolchain import Toolchain
from sandboxes.toolchains import find_toolchains
from tests.sandboxes.bodies import Body, Find, standing
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


@pytest.fixture(params=["tier-A", "warm", "tier-B", "warm-B", "tier-D", "fake"])
async def body(request: pytest.FixtureRequest, toolchains: Find) -> AsyncIterator[Body]:
    sandboxes = await standing(request.param, toolchains)
    yield Body(request.param, sandboxes)
    await sandboxes.close()


@pytest.fixture(params=["tier-A", "warm", "tier-B", "warm-B"])
async def local(request: pytest.FixtureRequest, toolchains: Find) -> AsyncIterator[Body]:
    sandboxes = await standing(request.param, toolchains)
    yield Body(request.param, sandboxes)
    await sandboxes.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what tier D does not promise."""
    excuse(items)
