"""Python that cannot be warm when the service starts is cold, says so, and becomes warm by itself."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from sandboxes.local.zygote import Zygote
from sandboxes.local.zygote_wall import ZygoteConfig
from sandboxes.protocol import SandboxFailed
from tests.sandboxes.bodies import Body, Find, standing


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60.0):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["tier-A", "tier-B"])
async def test_a_zygote_without_time_to_stand_costs_warmth_only_and_only_for_a_while(
    name: str, toolchains: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, is_busy = Zygote.start, True

    async def start_unless_busy(config: ZygoteConfig, modules: Sequence[str]) -> Zygote:
        if is_busy:
            raise SandboxFailed("The zygote does not come to stand: it said nothing.")
        return await start(config, modules)

    monkeypatch.setattr(Zygote, "start", start_unless_busy)
    local = Body(name, await standing(name, toolchains, warm_plain=1, warm_heavy=0))
    try:
        cold = "Python starts cold each time; it is tried again: The zygote does not come to stand"
        assert any(note.startswith(cold) for note in local.sandboxes.info().notes), (
            "as health and doctor tell"
        )
        assert (await local.run("print(1)")).stdout == b"1\n"
        is_busy = False
        await until(lambda: local.sandboxes.info().languages[0].warm == 1)
        assert not any("cold" in note for note in local.sandboxes.info().notes)
        assert (await local.run("print(2)")).stdout == b"2\n"
    finally:
        await local.sandboxes.close()
