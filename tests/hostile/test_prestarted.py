"""Attacks from runtimes that were started ahead: they are as shut in, and as mortal, as cold ones."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sandboxes.local import LocalSandboxes
from tests.sandboxes.ahead import waiting_for
from tests.sandboxes.bodies import MIB, Body, Find, Result, standing
from tests.sandboxes.test_prestarted import find

Attack = Callable[..., Awaitable[Result]]


@pytest.fixture(params=["tier-A", "tier-B"])
async def attack(request: pytest.FixtureRequest) -> AsyncIterator[Attack]:
    """Run hostile JavaScript in a waiting node; afterwards the next one must be well."""
    seen: Find = find
    local = await standing(request.param, seen, prestarted={"js": 1}, warm_plain=0, warm_heavy=0)
    assert isinstance(local, LocalSandboxes)
    body = Body(request.param, local)

    async def run(code: str, **limits: object) -> Result:
        await waiting_for(local, "js")
        return await body.run(code, language="js", **{"timeout_s": 3.0, **limits})

    yield run
    after = await run("console.log(6 * 7)", timeout_s=20.0)
    assert (after.exit.outcome, after.stdout) == ("exited", b"42\n")
    await local.close()


async def test_no_capability_no_privilege_and_a_filter(attack: Attack) -> None:
    result = await attack("console.log(require('fs').readFileSync('/proc/self/status', 'latin1'))")
    status = dict(line.split(":\t") for line in result.stdout.decode().splitlines() if ":\t" in line)
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


async def test_memory_ends_at_the_limit(attack: Attack) -> None:
    code = "const kept = []; for (;;) kept.push(Buffer.alloc(4 << 20, 1))"
    result = await attack(code, memory_bytes_max=100 * MIB, timeout_s=20.0)
    assert result.exit.outcome == "out_of_memory"


async def test_processes_end_at_the_limit_and_with_the_program(attack: Attack) -> None:
    code = """
        const { spawn } = require('child_process');
        let refused = 0;
        for (let i = 0; i < 100; i++)
            spawn('sleep', ['1000'], { detached: true, stdio: 'inherit' }).on('error', () => refused++);
        setTimeout(() => { console.log(refused > 0); process.exit(0); }, 500);"""
    result = await attack(code, pids_max=40, timeout_s=20.0)
    assert result.exit.outcome in ("exited", "killed")
    assert "limit of 40 processes" in result.exit.message or b"true" in result.stdout


async def test_a_flood_is_cut(attack: Attack) -> None:
    code = "const all = Buffer.alloc(1 << 20, 'x'); for (;;) try { require('fs').writeSync(1, all) } catch {}"
    result = await attack(code)
    assert len(result.stdout) <= MIB
    assert result.exit.outcome in ("killed", "timed_out")


async def test_one_that_ignores_signals_and_time_is_stopped(attack: Attack) -> None:
    code = "for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(name, () => {}); for (;;);"
    assert (await attack(code, timeout_s=1.0)).exit.outcome == "timed_out"


async def test_the_fifos_it_was_fed_by_are_gone(attack: Attack) -> None:
    code = "console.log(require('fs').readdirSync('/program').sort().join())"
    assert (await attack(code)).stdout == b".waiter.js,main.js\n"


async def test_nothing_of_the_service_can_be_reached(attack: Attack) -> None:
    """Only the program's own three pipes and node's own are open, and there is no network."""
    code = """
        const fs = require('fs');
        const open = fs.readdirSync('/proc/self/fd').map((fd) => {
            try { return fs.readlinkSync('/proc/self/fd/' + fd) } catch { return '' } });
        console.log(open.filter((name) => name.startsWith('socket:') || name.startsWith('/program')).length);
        require('net').connect(6379, '127.0.0.1').on('error', (error) => console.log(error.code));"""
    result = await attack(code)
    assert result.stdout.decode().split() == ["0", "ECONNREFUSED"]
