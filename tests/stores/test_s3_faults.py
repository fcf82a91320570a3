"""When S3 is away, slow, full, closed to us or not what it was: a sentence, and nothing half."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import Unavailable
from infra.objects import S3Config
from infra.redis import RedisClient, RedisConfig
from infra.stores.file_records import FileRecords
from infra.stores.file_sweep import FileSweep, Swept
from infra.stores.files import FileStore
from infra.stores.s3_objects import S3Objects
from tests.stores.conftest import MIB, OWNER, QUOTA, SESSION, Opened, StartS3, bytes_of, left_behind, pieces
from tests.stores.s3_process import ACCESS_KEY, SECRET_KEY, BadWay, S3Process

KEY = "files/session/file"


def _store(objects: S3Objects, redis: RedisClient, config: RedisConfig) -> FileStore:
    return FileStore(objects, FileRecords(redis, config, QUOTA, ttl_s=3600))


async def test_a_server_killed_in_the_middle_of_an_upload(
    start_s3: StartS3, opened: Opened, redis: RedisClient, redis_config: RedisConfig
) -> None:
    """The upload fails in time; after a restart nothing is listed, and a sweep frees the parts."""
    server = start_s3()
    objects = opened(server.config)
    store = _store(objects, redis, redis_config)

    async def content() -> AsyncIterator[bytes]:
        yield b"z" * (9 * MIB)
        server.kill()
        yield b"z" * (9 * MIB)

    with pytest.raises(Unavailable, match=r"S3 at http://127\.0\.0\.1:\d+ cannot be reached"):
        await store.save(OWNER, SESSION, "x", content())
    server.start()
    assert await store.listing(OWNER, SESSION) == []
    assert len(await left_behind(objects)) == 1
    assert await FileSweep(store, redis, redis_config, grace_s=0).once() == Swept(unfinished=1)
    assert await left_behind(objects) == []
    ref = await store.save(OWNER, SESSION, "x", pieces(b"again"))
    assert await bytes_of(store, SESSION, ref.id) == b"again"


async def test_a_server_killed_while_it_is_read(start_s3: StartS3, opened: Opened) -> None:
    """The reader is told that the rest is missing; it is never taken for the end."""
    server = start_s3()
    objects = opened(server.config)
    await objects.put(KEY, pieces(b"z" * (40 * MIB)))
    chunks = objects.get(KEY)
    await anext(chunks)
    server.kill()
    with pytest.raises(Unavailable, match="S3 at"):
        async for _ in chunks:
            pass


async def test_files_can_be_deleted_while_s3_is_away(
    start_s3: StartS3, opened: Opened, redis: RedisClient, redis_config: RedisConfig
) -> None:
    """They are unknown at once; the bytes follow with a sweep."""
    server = start_s3()
    objects = opened(replace(server.config, attempts_max=1))
    store = _store(objects, redis, redis_config)
    ref = await store.save(OWNER, SESSION, "x", pieces(b"x"))
    server.kill()
    assert await store.delete(OWNER, SESSION, ref.id) is True
    assert await store.find(OWNER, SESSION, ref.id) is None
    with pytest.raises(Unavailable):
        await FileSweep(store, redis, redis_config, grace_s=0).once()
    server.start()
    assert await FileSweep(store, redis, redis_config, grace_s=0).once() == Swept(orphans=1)


@pytest.mark.parametrize(
    "wrong", [{"secret_key": "wrong-secret"}, {"access_key": "wrong-access"}], ids=["secret", "access key"]
)
async def test_wrong_credentials_are_told_without_being_shown(
    s3_config: S3Config, opened: Opened, wrong: dict[str, str]
) -> None:
    """For every call, and not even the configuration prints them."""
    config = replace(s3_config, **wrong)
    objects = opened(config)
    for call in (
        objects.put(KEY, pieces(b"x")),
        anext(objects.get(KEY)),
        objects.delete(KEY),
        objects.check(),
    ):
        with pytest.raises(Unavailable, match="refuses our credentials for bucket") as told:
            await call
        assert not any(secret in told.value.message for secret in (*wrong.values(), SECRET_KEY, ACCESS_KEY))
    assert not any(secret in repr(config) for secret in (*wrong.values(), SECRET_KEY, ACCESS_KEY))


async def test_a_bucket_that_was_deleted_is_named_and_made_again(
    s3_shared: S3Process, s3_config: S3Config, opened: Opened, redis: RedisClient, redis_config: RedisConfig
) -> None:
    """One call fails, clearly; the next finds a new bucket, and a sweep forgets what was lost."""
    store = _store(opened(s3_config), redis, redis_config)
    lost = await store.save(OWNER, SESSION, "lost", pieces(b"x"))
    s3_shared.drop_bucket(s3_config.bucket)
    with pytest.raises(Unavailable, match=f"has no bucket '{s3_config.bucket}'"):
        await store.save(OWNER, SESSION, "x", pieces(b"x"))
    kept = await store.save(OWNER, SESSION, "kept", pieces(b"x"))
    assert await FileSweep(store, redis, redis_config, grace_s=0).once() == Swept(lost=1)
    assert [stored.ref.id for stored in await store.listing(OWNER, SESSION)] == [kept.id]
    assert await store.find(OWNER, SESSION, lost.id) is None


async def test_a_sweep_forgets_nothing_because_a_bucket_is_missing(
    s3_shared: S3Process, s3_config: S3Config, opened: Opened, redis: RedisClient, redis_config: RedisConfig
) -> None:
    """Where nothing can be looked up, nothing is known to be lost."""
    store = _store(opened(s3_config), redis, redis_config)
    await store.save(OWNER, SESSION, "x", pieces(b"x"))
    s3_shared.drop_bucket(s3_config.bucket)
    with pytest.raises(Unavailable, match="has no bucket"):
        await FileSweep(store, redis, redis_config, grace_s=0).once()
    assert len(await store.listing(OWNER, SESSION)) == 1


async def test_processes_that_make_the_bucket_at_once_agree(s3_config: S3Config, opened: Opened) -> None:
    """All but one find that another was faster."""
    stores = [opened(s3_config) for _ in range(6)]
    await asyncio.gather(*(one.put(f"files/session/{id(one)}", pieces(b"x")) for one in stores))
    assert len(await left_behind(stores[0])) == 6


@pytest.mark.parametrize(
    "patience",
    [{"silence_timeout_s": 0.5}, {"call_timeout_s": 1.0}, {"call_timeout_s": 1.0, "attempts_max": 9}],
    ids=["of silence", "of one call", "of one call with all its attempts"],
)
async def test_a_server_that_falls_silent_is_waited_for_in_bounds(
    s3_shared: S3Process, s3_config: S3Config, opened: Opened, patience: dict[str, float]
) -> None:
    """Writing, reading and looking all end; when it speaks again all is well."""
    way = BadWay(s3_shared.port)
    await opened(s3_config).put(KEY, pieces(b"x"))
    way.open.clear()
    impatient = replace(replace(s3_config, attempts_max=1, connect_timeout_s=1.0), **patience)  # type: ignore[arg-type]
    async with way.leading_to(impatient) as config:
        objects = opened(config)
        calls = objects.check(), left_behind(objects), anext(objects.get(KEY)), objects.put(KEY, pieces(b"y"))
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(answer, Unavailable)
            assert "does not answer in time" in answer.message
        way.open.set()
        assert await left_behind(opened(replace(config, call_timeout_s=30, silence_timeout_s=30))) == [KEY]


async def test_a_server_that_falls_silent_half_way_is_waited_for_in_bounds(
    s3_shared: S3Process, s3_config: S3Config, opened: Opened
) -> None:
    """Reading a file or writing one; what was read is not taken for all of it."""
    way = BadWay(s3_shared.port)
    bounded = replace(s3_config, attempts_max=1, silence_timeout_s=2.0, call_timeout_s=4.0)
    async with way.leading_to(bounded) as config:
        objects = opened(config)
        await objects.put(KEY, pieces(b"z" * (16 * MIB)))
        chunks = objects.get(KEY)
        await anext(chunks)

        async def content() -> AsyncIterator[bytes]:
            yield b"z" * (8 * MIB)
            way.open.clear()
            yield b"z" * (8 * MIB)

        async def rest() -> None:
            while way.open.is_set():
                await asyncio.sleep(0.01)
            async for _ in chunks:
                pass

        calls = objects.put("files/session/new", content()), rest()
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(answer, Unavailable)
            assert "does not answer in time" in answer.message


async def test_an_upload_that_stalls_leaves_nothing(
    s3_shared: S3Process, s3_config: S3Config, opened: Opened, redis: RedisClient, redis_config: RedisConfig
) -> None:
    """Neither listed nor kept: its parts are aborted as soon as the server can be reached."""
    way = BadWay(s3_shared.port)
    impatient = replace(s3_config, attempts_max=1, silence_timeout_s=0.3, call_timeout_s=1.0)
    async with way.leading_to(impatient) as config:
        store = _store(opened(config), redis, redis_config)

        async def content() -> AsyncIterator[bytes]:
            yield b"z" * (9 * MIB)
            way.open.clear()
            yield b"z" * (9 * MIB)

        with pytest.raises(Unavailable, match="does not answer in time"):
            await store.save(OWNER, SESSION, "x", content())
        assert await store.listing(OWNER, SESSION) == []
        way.open.set()
        await FileSweep(store, redis, redis_config, grace_s=0).once()
        assert await left_behind(store.objects) == []


async def test_a_full_disk_of_the_server_is_told(
    start_s3: StartS3, small_disk: Path, opened: Opened, redis: RedisClient, redis_config: RedisConfig
) -> None:
    """Nothing half is listed, and what fits still goes in."""
    server = start_s3(small_disk)
    store = _store(opened(server.config), redis, redis_config)
    kept = await store.save(OWNER, SESSION, "kept", pieces(b"x"))
    with pytest.raises(Unavailable, match="S3 at"):
        await store.save(OWNER, SESSION, "x", pieces(b"x" * (5 * MIB)))
    with pytest.raises(Unavailable, match="S3 at"):
        await store.save(OWNER, SESSION, "x", pieces(b"x" * (9 * MIB)))
    assert [stored.ref for stored in await store.listing(OWNER, SESSION)] == [kept]
    await store.save(OWNER, SESSION, "small", pieces(b"x" * MIB))


async def test_nothing_listens_there(opened: Opened) -> None:
    """As after a typing error in MINIO_ENDPOINT."""
    objects = opened(S3Config(endpoint="127.0.0.1:1", bucket="test", access_key="a", secret_key="b"))
    with pytest.raises(Unavailable, match=r"S3 at http://127\.0\.0\.1:1 cannot be reached"):
        await objects.check()
