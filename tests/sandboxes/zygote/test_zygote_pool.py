# ruff: noqa: E501  programs stand on one line each
"""The pool: children ready, taken once, gone without trace; zygotes that crash or grow old are replaced."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from sandboxes.local.zygote import Zygote
from sandboxes.local.zygote_child import Child
from sandboxes.local.zygote_nursery import Nursery
from sandboxes.local.zygote_pool import ZygotePool
from sandboxes.local.zygote_wall import ZygoteConfig
from sandboxes.protocol import SandboxFailed, SandboxUnavailable
from tests.sandboxes.test_local_leftovers import mounts

from .conftest import pool_config, run_command, run_in, started

_strangers: set[psutil.Process] = set()
"""Walls that stood before the test: of sandboxes that other tests share."""


@pytest.fixture(autouse=True)
def _know_strangers() -> None:
    _strangers.clear()
    _strangers.update(_walls())


def _walls() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if process.name() == "bwrap"]


def ours() -> list[psutil.Process]:
    """Return the processes of all walls this test has raised."""
    walls = [wall for wall in _walls() if wall not in _strangers]
    return [process for wall in walls for process in (wall, *wall.children(recursive=True))]


@pytest.fixture
async def pool() -> AsyncIterator[ZygotePool]:
    """A pool of its own for each test: they break it, and it is whole again at once."""
    pool = await started(pool_config(retry_s=0.01, steady_after_s=0.0))
    yield pool
    await pool.close()


async def until(condition, *, seconds: float = 10.0) -> None:
    """Wait until something becomes true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def taken(pool: ZygotePool) -> Child:
    """Take a child as soon as there is a zygote again."""
    await until(lambda: pool._nurseries["plain"].stands)
    return await pool.take()


def zygote_of(child: Child) -> int:
    """Return the host's number for the warm process that made `child`."""
    return psutil.Process(child.pid).ppid()


async def crash(nursery: Nursery) -> None:
    """Kill its zygote, and wait until that is known."""
    zygote = zygote_of(nursery._waiting[0])
    standing = nursery._zygote
    os.kill(zygote, signal.SIGKILL)
    await until(lambda: nursery._zygote is not standing)


async def test_a_child_is_used_once(pool: ZygotePool) -> None:
    """Every take gives another process; two at once are two."""
    children = [await pool.take() for _ in range(4)]
    assert len({child.pid for child in children}) == 4
    results = await asyncio.gather(*(run_in(child, "import os; print(os.getpid())") for child in children))
    assert [result.stdout for result in results] == ["2\n"] * 4
    await asyncio.gather(*(child.close() for child in children))


async def test_the_pool_fills_up_again() -> None:
    """As many children wait as were asked for, before and after some were taken."""
    pool = await started(pool_config(ready={"plain": 3}))
    try:
        await until(lambda: pool.ready == {"plain": 3})
        for _ in range(2):
            child = await pool.take()
            await child.close()
        await until(lambda: pool.ready == {"plain": 3})
    finally:
        await pool.close()


async def test_many_runs_leave_nothing(pool: ZygotePool) -> None:
    """After 300 runs there are as many processes, descriptors and mounts as after the first ones."""

    async def runs(count: int) -> None:
        for number in range(count):
            child = await pool.take()
            result = await run_in(child, f"print({number})\nimport os\nif os.fork() == 0: os.setsid()")
            assert result.stdout.startswith(f"{number}\n")
            await child.close()
        await until(lambda: pool.ready == {"plain": 1})

    def held() -> tuple[int, int, int]:
        return (
            len(ours()),
            psutil.Process().num_fds(),
            mounts(),
        )

    await runs(5)
    await until(lambda: all(process.status() != psutil.STATUS_ZOMBIE for process in ours()))
    before = held()
    await runs(300)
    await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


async def test_killing_ends_everything_and_tells_the_signal(pool: ZygotePool) -> None:
    """Also what ignores signals and what went into sessions of its own."""
    child = await pool.take()
    code = (
        "import os, signal, time\n"
        "for n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\n"
        "for _ in range(3):\n    if os.fork() == 0: os.setsid(); break\n"
        "print('up', flush=True)\nwhile True: time.sleep(600)"
    )
    running = asyncio.create_task(run_in(child, code))
    me = psutil.Process(child.pid)
    await until(lambda: len(me.children()) == 3)
    descendants = me.children()
    child.control.kill()
    result = await running
    assert result.code == -signal.SIGKILL
    await child.close()
    assert not any(process.is_running() for process in [me, *descendants])


async def test_a_crash_of_the_program_is_told_by_the_zygote(pool: ZygotePool) -> None:
    """The status is the program's own, not that of whoever reports it."""
    for code, status in (("import os; os._exit(7)", 7), ("import os; os.kill(os.getpid(), 11)", -11)):
        child = await pool.take()
        assert (await run_in(child, code)).code == status
        await child.close()


async def test_what_a_program_left_running_ends_with_it(pool: ZygotePool) -> None:
    """A daemon that holds the output open does not hold up the end."""
    child = await pool.take()
    code = "import subprocess\nsubprocess.Popen('setsid sleep 600 &', shell=True).wait()\nprint('bye')"
    assert (await run_in(child, code)).stdout == "bye\n"
    await child.reaped()
    await child.close()


async def test_orphans_are_reaped_while_the_program_runs(pool: ZygotePool) -> None:
    """Process 1 of the sandbox leaves no zombies behind."""
    code = (
        "import os, time\n"
        "for _ in range(20):\n    if os.fork() == 0:\n        if os.fork() == 0: os._exit(0)\n        os._exit(0)\n"
        "    os.wait()\n"
        "while [d for d in os.listdir('/proc') if d.isdigit()] != ['1', '2']: time.sleep(0.001)\nprint('clean')"
    )
    child = await pool.take()
    assert (await run_in(child, code)).stdout == "clean\n"
    await child.close()


async def test_commands_run_one_after_the_other_in_one_child(pool: ZygotePool) -> None:
    """A build and then its result, each with its own status; what cannot start says so."""
    child = await pool.take()
    write = [
        "/bin/sh",
        "-c",
        "printf '#!/bin/sh\\necho built $1; exit 3' > /program/main; chmod +x /program/main",
    ]
    assert (await run_command(child, write)).code == 0
    result = await run_command(child, ["/program/main", "ä"])
    assert (result.stdout, result.code) == ("built ä\n", 3)
    with pytest.raises(SandboxFailed, match="no-such-tool: No such file"):
        await run_command(child, ["no-such-tool"])
    result = await run_command(child, ["/bin/sh", "-c", "kill -TERM $$"])
    assert result.code == -signal.SIGTERM
    await child.close()


async def test_inputs_and_results_pass_through_the_directory(pool: ZygotePool) -> None:
    """The service reads what the program wrote, even when all is over."""
    child = await pool.take()
    await run_in(child, "open('out.txt', 'w').write('result')")
    await child.reaped()
    fd = os.open("out.txt", os.O_RDONLY, dir_fd=child.data_fd)
    assert os.read(fd, 100) == b"result"
    os.close(fd)
    await child.close()


async def test_a_crashed_zygote_is_replaced_and_its_children_live_on(pool: ZygotePool) -> None:
    """What runs ends with its own status, what waits can be taken, and new children come from a new zygote."""
    running, waiting = await pool.take(), await pool.take()
    await until(lambda: pool.ready == {"plain": 1})
    first = zygote_of(running)
    code = "import sys\nprint(input(), flush=True)\nsys.exit(5)"
    (late_read, late_write), tasks = os.pipe(), []
    tasks.append(asyncio.create_task(run_in(running, "import time, os\ntime.sleep(0.3)\nos._exit(6)")))
    os.close(late_read), os.close(late_write)
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(first))
    assert (await tasks[0]).code == 6
    assert (await run_in(waiting, code, stdin=b"alive\n")).stdout == "alive\n"
    fresh = [await taken(pool) for _ in range(2)]
    assert (await run_in(fresh[1], "print(2)")).stdout == "2\n"
    assert zygote_of(fresh[1]) != first if psutil.pid_exists(fresh[1].pid) else True
    await asyncio.gather(*(child.close() for child in (running, waiting, *fresh)))


async def test_the_end_of_everything_is_survived(pool: ZygotePool) -> None:
    """Bubblewrap killed with all its children: what ran is told to be lost, the next take works."""
    child = await pool.take()
    running = asyncio.create_task(run_in(child, "print('up', flush=True)\nimport time; time.sleep(600)"))
    await asyncio.sleep(0)
    for process in ours():
        with contextlib.suppress(psutil.NoSuchProcess):  # the first ones take others with them
            process.kill()
    with pytest.raises(SandboxFailed):
        await running
    await child.close()
    again = await taken(pool)
    assert (await run_in(again, "print(3)")).stdout == "3\n"
    await again.close()


async def test_a_zygote_is_recycled_by_count() -> None:
    """Its successor has another hash seed; the old one ends with its last child."""
    pool = await started(pool_config(children_max=3, age_s_max=0.02))
    try:
        seeds = set()
        zygotes = set()
        while len(seeds) < 4:
            child = await pool.take()
            zygotes.add(zygote_of(child))
            seeds.add((await run_in(child, "print(hash('a'))")).stdout)
            await child.close()
        assert len(zygotes) >= 4
        # the one in service, and one whose last child still waits
        await until(lambda: sum(psutil.pid_exists(pid) for pid in zygotes) <= 2)
    finally:
        await pool.close()


async def test_children_are_made_as_the_pool_is_told() -> None:
    """Such as in a control group; a child whose making fails is no child."""
    made: list[Child] = []

    async def make(zygote: Zygote) -> Child:
        child = await zygote.make()
        made.append(child)
        if len(made) == 2:
            await child.close()
            raise OSError("no")
        return child

    pool = await started(pool_config(make=make, retry_s=0.01))
    try:
        for _ in range(3):
            child = await pool.take()
            assert child in made
            assert child is not (made[1:2] or [None])[0]
            await child.close()
            await until(lambda: pool.ready == {"plain": 1})
    finally:
        await pool.close()


async def test_closing_leaves_no_process(pool: ZygotePool) -> None:
    """Not even of children that were taken and never closed; taking from it is refused."""
    await pool.take()
    await pool.close()
    assert ours() == []
    with pytest.raises(SandboxUnavailable):
        await pool.take()


async def test_a_python_that_does_not_start_is_told_why() -> None:
    """What was said on the error output; nobody who wants a child has to wait for the next failure."""
    pool = ZygotePool(pool_config(zygote=replace(pool_config().zygote, python="/usr/bin/no-python")))
    await pool.start()
    try:
        assert "no-python" in pool.troubles["plain"]
        assert pool.ready == {"plain": 0}
        with pytest.raises(SandboxUnavailable):
            await pool.take()
    finally:
        await pool.close()
    assert ours() == []


async def test_a_zygote_that_has_no_time_to_stand_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host that is too busy when the service starts; the pause is the only thing to wait for."""
    monkeypatch.setattr("sandboxes.backing_off._FIRST_S", 0.05)
    start, tried = Zygote.start, 0

    async def failing_thrice(config: ZygoteConfig, modules: Sequence[str]) -> Zygote:
        nonlocal tried
        tried += 1
        return await start(replace(config, start_timeout_s=0.0 if tried <= 3 else 20.0), modules)

    monkeypatch.setattr(Zygote, "start", failing_thrice)
    pool = ZygotePool(pool_config(retry_s=0.01))
    await pool.start()
    try:
        assert "does not come to stand" in pool.troubles["plain"]
        await until(lambda: pool.ready == {"plain": 1})
        assert (tried, pool.troubles) == (4, {})
        child = await pool.take()
        assert (await run_in(child, "print(5)")).stdout == "5\n"
        await child.close()
    finally:
        await pool.close()
    assert ours() == []


async def test_a_zygote_that_crashes_again_and_again_is_started_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It costs the host less and less; till then nobody waits for it, and when it lives it serves."""
    clock = 0.0
    monkeypatch.setattr("sandboxes.local.zygote_nursery.time", SimpleNamespace(monotonic=lambda: clock))
    pool = await started(pool_config(retry_s=0.001, steady_after_s=1e9))
    nursery = pool._nurseries["plain"]
    try:
        pauses = []
        for _ in range(4):
            await until(lambda: nursery.stands and nursery.ready == 1)
            await crash(nursery)
            assert "crashed" in pool.troubles["plain"]
            await (await pool.take()).close()  # the one that waited lives on
            with pytest.raises(SandboxUnavailable):
                await pool.take()
            due = nursery._back_offs._failing["plain"].until
            pauses.append(due - clock)
            clock = due
        assert pauses == [1.0, 2.0, 4.0, 8.0]
        await until(lambda: pool.ready == {"plain": 1})
        assert pool.troubles == {}
    finally:
        await pool.close()


async def test_one_that_crashes_after_a_long_life_is_replaced_at_once() -> None:
    """Also while its children still wait."""
    pool = await started(pool_config(retry_s=0.01, steady_after_s=0.0))
    nursery = pool._nurseries["plain"]
    try:
        for _ in range(3):
            await until(lambda: nursery.stands and nursery.ready == 1)
            await crash(nursery)
            assert pool.troubles == {}
            await (await pool.take()).close()  # the one that waited
        await until(lambda: nursery.stands)
    finally:
        await pool.close()


async def test_a_zygote_that_hangs_is_replaced_and_nobody_waits_for_it_twice() -> None:
    """A stopped process is as good as a dead one, but does not say so."""
    pool = await started(pool_config(retry_s=0.01, steady_after_s=0.0))
    nursery = pool._nurseries["plain"]
    try:
        await until(lambda: nursery.ready == 1)
        stopped = zygote_of(nursery._waiting[0])
        nursery._zygote._timeout_s = 0.2
        os.kill(stopped, signal.SIGSTOP)
        await (await pool.take()).close()
        await until(
            lambda: nursery.stands and nursery.ready == 1 and zygote_of(nursery._waiting[0]) != stopped
        )
        await until(lambda: not psutil.pid_exists(stopped))
    finally:
        await pool.close()


async def test_a_heavy_flavour_without_its_modules_is_a_plain_one() -> None:
    """It is not kept; whoever asks for it gets a plain child."""
    pool = await started(pool_config(ready={"plain": 1, "heavy": 1}, modules=("no_such_module",)))
    try:
        assert pool.warm_modules == ()
        assert set(pool.ready) == {"plain"}
        child = await pool.take("heavy")
        assert (await run_in(child, "print(4)")).stdout == "4\n"
        await child.close()
    finally:
        await pool.close()


async def test_a_module_of_the_heavy_flavour_is_there_already() -> None:
    """The heavy child has it before the program asks; the plain child imports it itself."""
    pool = await started(pool_config(ready={"plain": 1, "heavy": 1}, modules=("fractions", "colorsys")))
    try:
        assert pool.warm_modules == ["fractions", "colorsys"]
        code = "import sys\nprint('colorsys' in sys.modules)\nimport colorsys"
        for flavour, warm in (("heavy", "True\n"), ("plain", "False\n")):
            child = await pool.take(flavour)
            assert (await run_in(child, code)).stdout == warm
            await child.close()
    finally:
        await pool.close()


async def test_a_heavy_zygote_that_does_not_come_to_stand_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Till then the plain one serves; nobody has to do without warm Python for it."""
    start, failed = Zygote.start, []

    async def failing_once(config: ZygoteConfig, modules: Sequence[str]) -> Zygote:
        if modules and not failed:
            failed.append(modules)
            raise SandboxFailed("no time")
        return await start(config, modules)

    monkeypatch.setattr(Zygote, "start", failing_once)
    pool = await started(
        pool_config(ready={"plain": 1, "heavy": 1}, modules=("colorsys",), heavy_retry_s=0.01)
    )
    try:
        assert failed
        await (await pool.take("heavy")).close()
        await until(lambda: pool.warm_modules == ["colorsys"])
    finally:
        await pool.close()
