"""Sandboxes whose runtimes were started ahead, as tests want them: really taken, never cold by chance."""

import asyncio

from sandboxes.local.sandbox import LocalSandbox
from sandboxes.local.sandboxes import LocalSandboxes
from sandboxes.protocol import SandboxSpec
from tests.sandboxes.bodies import require

_PATIENCE_S = 60.0


async def acquire(local: LocalSandboxes, spec: SandboxSpec) -> LocalSandbox:
    """Take a sandbox; where the language is started ahead, wait for one that is."""
    if not local._config.prestarted.get(spec.language):
        return await local.acquire(spec)
    await waiting_for(local, spec.language)
    sandbox = await local.acquire(spec)
    assert sandbox._ahead, "it is cold"
    return sandbox


async def waiting_for(local: LocalSandboxes, language: str) -> None:
    """Wait until a runtime does; skipped where none can be started ahead, unless in CI."""
    toolchain = local._toolchains[language]
    require(not toolchain.missing and toolchain.prestart is not None, toolchain.missing or toolchain.note)
    async with asyncio.timeout(_PATIENCE_S):
        while not waiting(local, language):
            await asyncio.sleep(0.01)


def waiting(local: LocalSandboxes, language: str) -> int:
    """How many runtimes wait."""
    return next(status.warm for status in local.info().languages if status.code == language)
