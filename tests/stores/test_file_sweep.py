"""What nobody knows any more is cleared away, and nothing else is."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.errors import Unavailable
from infra.objects import S3Config
from infra.redis import RedisClient, RedisConfig
from infra.stores.file_quota import FileQuota, QuotaExceeded
from infra.stores.file_sweep import FileSweep, Swept
from infra.stores.files import FileStore
from infra.stores.folder_objects import FolderObjects
from infra.stores.objects import ObjectStore, StoredObject
from schemas.ids import FileId, SessionId
from tests.stores.conftest import MIB, OWNER, SESSION, OpenStore, bytes_of, eventually, left_behind, pieces

ROOT = Path(__file__).parents[2]


async def test_files_survive_a_sweep(store: FileStore, sweep: FileSweep) -> None:
    """Whatever a record knows is wanted."""
    refs = [await store.save(OWNER, SESSION, name, pieces(b"x")) for name in "abc"]
    assert await sweep.once() == Swept()
    for ref in refs:
        assert await bytes_of(store, SESSION, ref.id) == b"x"


@pytest.mark.everywhere
async def test_bytes_without_a_record_go(store: FileStore, objects: ObjectStore, sweep: FileSweep) -> None:
    """As when a session expired, or its writer died just before the commit."""
    kept = await store.save(OWNER, SESSION, "kept", pieces(b"x"))
    await objects.put(f"files/{SESSION}/orphan", pieces(b"x"))
    await objects.put("files/another/orphan", pieces(b"x"))
    assert await sweep.once() == Swept(orphans=2)
    assert await left_behind(objects) == [f"files/{SESSION}/{kept.id}"]


async def test_what_is_not_a_file_of_ours_stays(objects: ObjectStore, sweep: FileSweep) -> None:
    """Others may keep things in the same place: archived state does."""
    for key in ("state/session/1", "files/deep/er/1"):
        await objects.put(key, pieces(b"x"))
    assert await sweep.once() == Swept()
    assert [found.key async for found in objects.listing("state/")] == ["state/session/1"]
    assert await left_behind(objects) == ["files/deep/er/1"]


async def test_new_bytes_are_given_time(
    store: FileStore, objects: ObjectStore, redis: RedisClient, redis_config: RedisConfig
) -> None:
    """Their writer may still be about to clear them away."""
    await objects.put("files/another/orphan", pieces(b"x"))
    assert await FileSweep(store, redis, redis_config, grace_s=3600).once() == Swept()
    assert await left_behind(objects) == ["files/another/orphan"]


@pytest.mark.everywhere
async def test_an_expired_session_leaves_nothing(
    open_store: OpenStore, objects: ObjectStore, sweep: FileSweep, redis: RedisClient, redis_prefix: str
) -> None:
    """Its records go by themselves, its bytes with the next sweep."""
    store = open_store()
    await store.save(OWNER, SESSION, "a", pieces(b"x"))

    async def records() -> list[bytes]:
        return [key async for key in redis.scan_iter(match=f"{redis_prefix}millrace:files:*")]

    for key in await records():
        await redis.pexpire(key, 1)

    async def has_expired() -> bool:
        return not await records()

    await eventually(has_expired)
    assert await store.listing(OWNER, SESSION) == []
    assert await sweep.once() == Swept(orphans=1)
    assert await left_behind(objects) == []


async def test_a_record_without_bytes_goes(store: FileStore, objects: ObjectStore, sweep: FileSweep) -> None:
    """A listing shows only what can be read, and the room is free again."""
    lost = await store.save(OWNER, SESSION, "lost", pieces(b"x" * 1000))
    kept = await store.save(OWNER, SESSION, "kept", pieces(b"x"))
    alone = await store.save(OWNER, SessionId("u" * 21), "alone", pieces(b"x"))
    await objects.delete(f"files/{SESSION}/{lost.id}")
    await objects.delete(f"files/{alone.session_id}/{alone.id}")
    assert await sweep.once() == Swept(lost=2)
    assert [stored.ref for stored in await store.listing(OWNER, SESSION)] == [kept]
    assert await store.listing(OWNER, alone.session_id) == []
    async with store.records.writing(OWNER, SESSION, kept.id) as session_bytes:
        assert session_bytes == 1


async def test_a_file_saved_while_a_sweep_looks_around_is_not_lost(
    store: FileStore, objects: ObjectStore, sweep: FileSweep
) -> None:
    """Its record is newer than the list of objects that the sweep goes by."""
    await store.save(OWNER, SESSION, "first", pieces(b"x"))
    listing = objects.listing

    async def listing_then_save(prefix: str) -> AsyncIterator[StoredObject]:
        async for found in listing(prefix):
            yield found
        if prefix == "files/":
            await store.save(OWNER, SESSION, "second", pieces(b"x"))
            await store.save(OWNER, SessionId("u" * 21), "third", pieces(b"x"))

    objects.listing = listing_then_save  # type: ignore[method-assign]
    assert await sweep.once() == Swept()
    assert [stored.ref.name for stored in await store.listing(OWNER, SESSION)] == ["first", "second"]


async def test_a_file_that_is_being_written_is_not_taken(
    store: FileStore, objects: ObjectStore, sweep: FileSweep
) -> None:
    """Neither its parts, nor its bytes between being whole and being listed."""
    swept: list[Swept | None] = []

    async def content() -> AsyncIterator[bytes]:
        yield b"z" * (9 * MIB)
        swept.append(await sweep.once())

    put = objects.put

    async def put_then_sweep(key: str, chunks: AsyncIterator[bytes]) -> int:
        size = await put(key, chunks)
        swept.append(await sweep.once())
        return size

    objects.put = put_then_sweep  # type: ignore[method-assign]
    ref = await store.save(OWNER, SESSION, "x", content())
    assert swept == [Swept(), Swept()]
    assert await bytes_of(store, SESSION, ref.id) == b"z" * (9 * MIB)


async def test_a_writer_whose_lease_ran_out_fails_rather_than_losing_bytes(
    store: FileStore, objects: ObjectStore, sweep: FileSweep, redis: RedisClient, redis_prefix: str
) -> None:
    """As after a long pause of its process: what a sweep took away is never listed."""

    async def content() -> AsyncIterator[bytes]:
        yield b"z" * (9 * MIB)
        (writing,) = await redis.keys(f"{redis_prefix}millrace:files:*:writing")
        ((file_id, _),) = await redis.zrange(writing, 0, -1, withscores=True)
        await redis.zadd(writing, {file_id: 1})  # long ago
        assert await sweep.once() == Swept(unfinished=1)

    with pytest.raises(Unavailable):  # S3 may refuse the next part, or hang up in the middle of it
        await store.save(OWNER, SESSION, "x", content())
    assert await store.listing(OWNER, SESSION) == []
    assert await left_behind(objects) == []


async def test_a_writer_that_slept_before_its_commit_finds_its_place_gone(
    store: FileStore, objects: ObjectStore, sweep: FileSweep, redis: RedisClient, redis_prefix: str
) -> None:
    """Its bytes were whole, but a sweep had every reason to take them: nothing may be listed for them."""
    put = objects.put

    async def put_then_sleep(key: str, chunks: AsyncIterator[bytes]) -> int:
        size = await put(key, chunks)
        (writing,) = await redis.keys(f"{redis_prefix}millrace:files:*:writing")
        await redis.zadd(writing, {key.rpartition("/")[2]: 1})  # long ago
        assert await sweep.once() == Swept(orphans=1)
        return size

    objects.put = put_then_sleep  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="took too long"):
        await store.save(OWNER, SESSION, "x", pieces(b"x"))
    assert await store.listing(OWNER, SESSION) == []
    assert await left_behind(objects) == []


async def test_a_lease_is_renewed_for_as_long_as_the_writer_lives(
    open_store: OpenStore, redis: RedisClient, redis_prefix: str
) -> None:
    """A slow upload is not a dead one."""

    async def end_of_lease() -> float:
        (writing,) = await redis.keys(f"{redis_prefix}millrace:files:*:writing")
        ((_, end),) = await redis.zrange(writing, 0, -1, withscores=True)
        return float(end)

    async def content() -> AsyncIterator[bytes]:
        yield b"x"
        first = await end_of_lease()

        async def is_longer_than_one() -> bool:
            return await end_of_lease() > first + 400

        await eventually(is_longer_than_one)

    await open_store(lease_s=0.3).save(OWNER, SESSION, "x", content())


async def test_a_place_held_by_a_dead_writer_is_free_after_its_lease(open_store: OpenStore) -> None:
    """A crash does not shrink the session's quota for ever."""
    store = open_store(FileQuota(files_max=1, file_bytes_max=9, session_bytes_max=9), lease_s=0.05)
    await store.records._reserve(OWNER, SESSION, FileId("f" * 21))  # and never anything more

    async def is_free() -> bool:
        try:
            await store.save(OWNER, SESSION, "x", pieces(b"x"))
        except QuotaExceeded:
            return False
        return True

    await eventually(is_free)


async def test_only_one_process_sweeps_at_a_time(
    store: FileStore, objects: ObjectStore, redis: RedisClient, redis_config: RedisConfig
) -> None:
    """The others leave it to that one, and may sweep afterwards."""
    sweeps = [FileSweep(store, redis, redis_config, grace_s=0) for _ in range(5)]
    for number in range(10):
        await objects.put(f"files/another/{number}", pieces(b"x"))
    answers = await asyncio.gather(*(one.once() for one in sweeps))
    assert sorted(answers, key=str) == [None] * 4 + [Swept(orphans=10)]
    assert await sweeps[1].once() == Swept()


async def test_sweeps_that_do_meet_do_no_harm(
    store: FileStore, objects: ObjectStore, redis: RedisClient, redis_config: RedisConfig, redis_prefix: str
) -> None:
    """The lease only saves work: take it away, and writers still lose nothing."""
    sweep = FileSweep(store, redis, redis_config, grace_s=0)
    done = asyncio.Event()

    async def sweep_without_end() -> None:
        while not done.is_set():
            await redis.delete(f"{redis_prefix}millrace:file-sweep")
            await sweep.once()

    sweeping = [asyncio.create_task(sweep_without_end()) for _ in range(3)]
    refs = await asyncio.gather(
        *(store.save(OWNER, SESSION, f"{number}", pieces(b"x" * 1000)) for number in range(30))
    )
    done.set()
    await asyncio.gather(*sweeping)
    assert {stored.ref.id for stored in await store.listing(OWNER, SESSION)} == {ref.id for ref in refs}
    for ref in refs:
        assert await bytes_of(store, SESSION, ref.id) == b"x" * 1000


async def test_a_sweep_is_due_once_in_an_interval(
    store: FileStore, redis: RedisClient, redis_config: RedisConfig
) -> None:
    """Whichever of the processes asks first."""
    sweeps = [FileSweep(store, redis, redis_config) for _ in range(3)]
    assert [await one._is_due(60) for one in sweeps] == [True, False, False]


async def test_regular_sweeps_clear_away_and_go_on(
    store: FileStore, objects: ObjectStore, sweep: FileSweep
) -> None:
    """Until they are told to stop."""
    sweeping = asyncio.create_task(sweep.forever(0.02))

    async def is_clear() -> bool:
        return not await left_behind(objects)

    for number in range(2):
        await objects.put(f"files/another{number}/orphan", pieces(b"x"))
        await eventually(is_clear)
    sweeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweeping


async def test_a_flushed_redis_leaves_bytes_that_go(
    store: FileStore, objects: ObjectStore, sweep: FileSweep, redis: RedisClient, redis_prefix: str
) -> None:
    """Also in the middle of an upload, which then fails instead of listing what others count as rubbish."""

    async def content() -> AsyncIterator[bytes]:
        yield b"z" * (9 * MIB)
        for key in await redis.keys(f"{redis_prefix}*"):
            await redis.delete(key)

    with pytest.raises(Exception, match="session ended"):
        await store.save(OWNER, SESSION, "x", content())
    await sweep.once()
    assert await left_behind(objects) == []


_WRITER = """
import asyncio, sys
from infra.objects import S3Config, S3Connection
from infra.redis import RedisConfig, build_redis
from infra.stores.file_quota import FileQuota, QuotaExceeded
from infra.stores.file_records import FileRecords
from infra.stores.files import FileStore
from infra.stores.folder_objects import FolderObjects
from infra.stores.s3_objects import S3Objects

async def content():
    yield b"z" * (9 << 20)
    yield b"z" * (9 << 20)
    print("half-way", flush=True)
    await asyncio.Event().wait()

async def main():
    config = {redis}
    quota = FileQuota(files_max=1, file_bytes_max=1 << 30, session_bytes_max=1 << 30)
    records = FileRecords(build_redis(config), config, quota, ttl_s=60, lease_s=0.3)
    await FileStore({objects}, records).save("anna", "{session}", "x", content())

asyncio.run(main())
"""


async def test_what_a_killed_process_was_writing_is_cleared_away(
    store: FileStore,
    objects: ObjectStore,
    sweep: FileSweep,
    redis_config: RedisConfig,
    request: pytest.FixtureRequest,
) -> None:
    """Half a file is never listed, and its parts do not stay for ever."""
    made = _source_of(objects, request)
    config = f"RedisConfig(url={redis_config.url!r}, prefix={redis_config.prefix!r})"
    script = _WRITER.replace("{redis}", config).replace("{objects}", made).replace("{session}", SESSION)
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT, stdout=PIPE)
    assert writer.stdout is not None
    assert await writer.stdout.readline() == b"half-way\n"
    assert len(await left_behind(objects)) == 1
    writer.kill()
    await writer.wait()
    assert await store.listing(OWNER, SESSION) == []

    async def is_swept() -> bool:
        return await sweep.once() == Swept(unfinished=1)

    await eventually(is_swept)
    assert await left_behind(objects) == []


def _source_of(objects: ObjectStore, request: pytest.FixtureRequest) -> str:
    if isinstance(objects, FolderObjects):
        return f"FolderObjects(__import__('pathlib').Path({str(objects._root)!r}))"
    config: S3Config = request.getfixturevalue("s3_config")
    values = {
        name: getattr(config, name) for name in ("endpoint", "bucket", "access_key", "secret_key", "prefix")
    }
    return f"S3Objects(S3Connection(S3Config(**{values!r})))"
