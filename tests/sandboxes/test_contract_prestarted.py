"""The contract again, over runtimes that were started ahead; its programs are in JavaScript."""

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from sandboxes.fake_script import AnyStep
from sandboxes.local import LocalSandboxes
from sandboxes.protocol import Program, Sandbox
from tests.sandboxes import test_contract as contract
from tests.sandboxes.ahead import waiting_for
from tests.sandboxes.as_javascript import as_javascript
from tests.sandboxes.bodies import Body, Find, Result, standing

pytestmark = pytest.mark.asyncio(loop_scope="session")

_NO_PYTHON = {"warm_plain": 0, "warm_heavy": 0}


class JavaScriptBody(Body):
    """Speaks JavaScript; a sandbox is taken once a runtime waits."""

    def code(self, *steps: AnyStep) -> str:
        return as_javascript(steps)

    async def acquire(self, language: str = "js", code: str = "", **limits: object) -> Sandbox:
        assert isinstance(self.sandboxes, LocalSandboxes)
        await waiting_for(self.sandboxes, language)
        return await super().acquire(language, code, **limits)

    async def run(
        self,
        program: Program | str,
        *,
        language: str = "js",
        files: Mapping[str, bytes] = {},
        **limits: object,
    ) -> Result:
        return await super().run(program, language=language, files=files, **limits)


UNGROUPED = pytest.param("tier-B", marks=pytest.mark.languages)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["tier-A", UNGROUPED])
async def body(request: pytest.FixtureRequest, toolchains: Find) -> AsyncIterator[Body]:
    sandboxes = await standing(request.param, toolchains, prestarted={"js": 1}, **_NO_PYTHON)
    yield JavaScriptBody(request.param, sandboxes)
    await sandboxes.close()


def _is_about_a_program(name: str) -> bool:
    return name.startswith("test_") and "body" in getattr(contract, name).__code__.co_varnames[:1]


for _name in filter(_is_about_a_program, dir(contract)):
    globals()[_name] = getattr(contract, _name)
