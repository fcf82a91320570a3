"""The places bytes may lie in, each behind one face, and stores of files over a real broker."""

import asyncio
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import Misconfigured
from infra.objects import S3Config, S3Connection
from infra.redis import RedisClient, RedisConfig, build_redis
from infra.setup.s3_server import is_built, s3_server
from infra.stores.file_quota import FileQuota
from infra.stores.file_records import FileRecords
from infra.stores.file_sweep import FileSweep
from infra.stores.files import FileStore
from infra.stores.folder_objects import FolderObjects
from infra.stores.objects import ObjectStore
from infra.stores.s3_objects import S3Objects
from schemas.ids import SessionId, TenantId
from tests.brokers import absent, running
from tests.redis_servers import arrangements
from tests.stores.s3_process import S3Process

MIB = 1024 * 1024
QUOTA = FileQuota(files_max=50, file_bytes_max=64 * MIB, session_bytes_max=128 * MIB)
OWNER, STRANGER = TenantId("anna"), TenantId("boris")
SESSION = SessionId("s" * 21)

OpenStore = Callable[..., FileStore]
StartS3 = Callable[..., S3Process]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test on a machine may have to wait until the S3 server is built."""
    if not is_built():
        for item in items:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def s3_binary() -> Path:
    """The server's binary."""
    try:
        return s3_server()
    except Misconfigured as missing:
        return absent(str(missing))


@pytest.fixture(scope="session")
def s3_shared(s3_binary: Path) -> Iterator[S3Process]:
    """One S3 server for the whole run; every test has a bucket of its own."""
    with running(S3Process(s3_binary)) as server:
        yield server


@pytest.fixture
def s3_config(s3_shared: S3Process) -> S3Config:
    """How to reach the shared server and a bucket that does not exist yet."""
    return replace(s3_shared.config, bucket=f"test-{uuid.uuid4().hex[:12]}", prefix="a-deployment/")


@pytest.fixture
def start_s3(s3_binary: Path) -> Iterator[StartS3]:
    """Start servers that the test may kill or break: `start_s3(folder=None, *options)`."""
    started: list[S3Process] = []

    def start(folder: Path | None = None, *options: str) -> S3Process:
        started.append(S3Process(s3_binary, folder, *options))
        started[-1].start()
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            server.close()


class Opened:
    """Object stores that are closed at the end of the test."""

    def __init__(self) -> None:
        self._made: list[S3Objects] = []

    def __call__(self, config: S3Config) -> S3Objects:
        self._made.append(S3Objects(S3Connection(config)))
        return self._made[-1]

    async def close(self) -> None:
        for one in self._made:
            await one.aclose()


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Open object stores: `opened(config)`."""
    opened = Opened()
    yield opened
    await opened.close()


@pytest.fixture(params=["folder", "s3"])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """An empty object store, of each kind in turn."""
    if request.param == "folder":
        made: ObjectStore = FolderObjects(tmp_path / "a folder")
    else:
        made = S3Objects(S3Connection(request.getfixturevalue("s3_config")))
    yield made
    await made.aclose()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Four MiB and no more."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a server may not have left yet


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked `everywhere` on a cluster and behind sentinels besides."""
    if metafunc.definition.get_closest_marker("everywhere"):
        kinds = ["redis", *arrangements("secure cluster", "sentinel")]
        metafunc.parametrize("redis_kind", kinds, indirect=True)


@pytest.fixture
def redis_kind(request: pytest.FixtureRequest) -> str:
    """Which Redis records are kept in."""
    return getattr(request, "param", "redis")


@pytest.fixture
def redis_config(request: pytest.FixtureRequest, redis_kind: str, redis_prefix: str) -> RedisConfig:
    """How to reach a shared broker under this test's own prefix."""
    if redis_kind == "redis":
        return replace(request.getfixturevalue("redis_server").config, prefix=redis_prefix)
    return request.getfixturevalue("arranged")(redis_kind).config(redis_prefix)


@pytest.fixture
async def redis(redis_config: RedisConfig) -> AsyncIterator[RedisClient]:
    """A client of the shared broker."""
    client = build_redis(redis_config)
    yield client
    await client.aclose()


@pytest.fixture
def open_store(objects: ObjectStore, redis: RedisClient, redis_config: RedisConfig) -> OpenStore:
    """Make stores of files over the same bytes and records, as of several processes."""

    def make(quota: FileQuota = QUOTA, *, ttl_s: float = 3600, lease_s: float = 60) -> FileStore:
        return FileStore(objects, FileRecords(redis, redis_config, quota, ttl_s=ttl_s, lease_s=lease_s))

    return make


@pytest.fixture
def store(open_store: OpenStore) -> FileStore:
    """A store of files with room enough."""
    return open_store()


@pytest.fixture
def sweep(store: FileStore, redis: RedisClient, redis_config: RedisConfig) -> FileSweep:
    """A sweep that takes even what is new."""
    return FileSweep(store, redis, redis_config, grace_s=0)


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield `chunks`."""
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def eventually(condition: Callable[[], Awaitable[object]], within_s: float = 60.0) -> None:
    """Wait for `condition`, and fail if it does not come true."""
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.01)


async def bytes_of(store: FileStore, session: SessionId, file_id: str, owner: TenantId = OWNER) -> bytes:
    """Return what is stored."""
    stored = await store.find(owner, session, file_id)
    assert stored is not None
    return b"".join([chunk async for chunk in store.read(stored)])


async def left_behind(objects: ObjectStore) -> list[str]:
    """Return the keys of all objects and of all writes without end."""
    whole = [found.key async for found in objects.listing("files/")]
    return whole + [write.key async for write in objects.unfinished("files/")]
