"""Real zygotes in real sandboxes, shared by the tests of one module."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest_asyncio

from sandboxes.local.control import Ended
from sandboxes.local.files import put_bytes
from sandboxes.local.zygote_child import Child
from sandboxes.local.zygote_pool import PoolConfig, ZygotePool
from sandboxes.local.zygote_wall import ZygoteConfig
from tests.brokers import absent

UID = 58_900 if os.getuid() == 0 else None
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
MIB = 1 << 20


@dataclass(frozen=True)
class Result:
    """What came of one program."""

    stdout: str
    stderr: str
    ended: Ended

    @property
    def code(self) -> int:
        """The exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(self.ended.status)


Run = Callable[..., Awaitable[Result]]


def pool_config(**changes: object) -> PoolConfig:
    """Return a small pool of plain children."""
    zygote = ZygoteConfig(
        bwrap=shutil.which("bwrap") or "bwrap",
        python="/usr/bin/python3",
        uid=UID,
        environment=ENVIRONMENT,
        disk_bytes_max=32 * MIB,
        pids_max=64,
    )
    return PoolConfig(**({"zygote": zygote, "ready": {"plain": 1}} | changes))


async def started(config: PoolConfig) -> ZygotePool:
    """Start a pool, or skip where sandboxes cannot be made."""
    pool = ZygotePool(config)
    await pool.start()
    if why := pool.troubles.get("plain"):
        await pool.close()
        absent(f"no zygote here: {why}")
    return pool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[ZygotePool]:
    """One plain child at a time, kept ready."""
    pool = await started(pool_config())
    yield pool
    await pool.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(pool: ZygotePool) -> Run:
    """Run a program in a fresh child of the pool."""

    async def run_one(code: str | bytes, *args: str, **options: object) -> Result:
        child = await pool.take()
        try:
            return await run_in(child, code, *args, **options)
        finally:
            await child.close()

    return run_one


async def run_in(
    child: Child,
    code: str | bytes,
    *args: str,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    rlimits: dict[str, int] | None = None,
    timeout_s: float = 30.0,
) -> Result:
    """Run a Python program in `child`; its working directory can be read afterwards."""
    source = code.encode() if isinstance(code, str) else code
    put_bytes(child.program_fd, "main.py", source, UID or 0)
    command = ["/usr/bin/python3", "-I", "-u", "-X", "utf8", "/program/main.py", *args]
    try:
        return await run_command(child, command, stdin=stdin, env=env, rlimits=rlimits, timeout_s=timeout_s)
    finally:
        child.kill()


async def run_command(
    child: Child,
    command: list[str],
    *,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    rlimits: dict[str, int] | None = None,
    timeout_s: float = 30.0,
) -> Result:
    """Give `child` one command and wait for its end."""
    order = {
        "argv": command,
        "env": ENVIRONMENT | (env or {}),
        "cwd": "/mnt/data",
        "places": [0, 1, 2],
        "rlimits": rlimits or {},
        "memory_watch_bytes": 0,
    }
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe(), os.pipe()
    try:
        ended = await child.control.start(order, [in_read, out_write, err_write])
    finally:
        for fd in (in_read, out_write, err_write):
            os.close(fd)
    feeding = asyncio.create_task(asyncio.to_thread(_feed, in_write, stdin))
    reading = [asyncio.create_task(_read(fd)) for fd in (out_read, err_read)]
    try:
        how = await asyncio.wait_for(ended, timeout_s)
    finally:
        stdout, stderr = await asyncio.gather(*reading)
        await feeding
    return Result(stdout.decode(errors="surrogateescape"), stderr.decode(errors="surrogateescape"), how)


def _feed(fd: int, data: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(fd, "wb") as pipe:
        pipe.write(data)


async def _read(fd: int) -> bytes:
    def read() -> bytes:
        with os.fdopen(fd, "rb") as pipe:
            return pipe.read()

    return await asyncio.to_thread(read)
