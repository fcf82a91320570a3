"""What is known of files, while Redis is a cluster, away, full, or comes and goes."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from infra.errors import Unavailable
from infra.redis import RedisConfig, build_redis
from infra.stores.file_records import FileRecords
from infra.stores.file_sweep import FileSweep, Swept
from infra.stores.files import FileStore
from infra.stores.objects import ObjectStore
from schemas.ids import FileId, SessionId
from tests.conftest import BrokerProcess, StartBroker
from tests.stores.conftest import OWNER, QUOTA, SESSION, bytes_of, left_behind, pieces


class Elsewhere:
    """A store of files whose records lie on a broker of the test's own."""

    def __init__(self, objects: ObjectStore, config: RedisConfig) -> None:
        self.client = build_redis(config)
        self.store = FileStore(objects, FileRecords(self.client, config, QUOTA, ttl_s=3600))
        self.sweep = FileSweep(self.store, self.client, config, grace_s=0)


@pytest.fixture
async def broker(start_broker: StartBroker) -> BrokerProcess:
    """A broker that the test may break."""
    return start_broker()


@pytest.fixture
async def elsewhere(objects: ObjectStore, broker: BrokerProcess) -> AsyncIterator[Elsewhere]:
    """A store on that broker."""
    made = Elsewhere(objects, broker.config)
    yield made
    await made.client.aclose()


async def test_a_cluster_keeps_records_too(objects: ObjectStore, start_broker: StartBroker) -> None:
    """What one script touches lies in one slot, and the sweep finds every session."""
    on_cluster = Elsewhere(objects, replace(start_broker(cluster=True).config, prefix="p:"))
    store = on_cluster.store
    sessions = [SessionId(letter * 21) for letter in "abcd"]
    refs = [await store.save(OWNER, session, "x", pieces(b"x")) for session in sessions]
    assert [await bytes_of(store, ref.session_id, ref.id) for ref in refs] == [b"x"] * 4
    assert await store.delete(OWNER, sessions[0], refs[0].id)
    assert await store.delete_session(OWNER, sessions[1]) == 1
    await objects.delete(f"files/{sessions[2]}/{refs[2].id}")
    await objects.put("files/another/orphan", pieces(b"x"))
    assert await on_cluster.sweep.once() == Swept(orphans=1, lost=1)
    assert await left_behind(objects) == [f"files/{sessions[3]}/{refs[3].id}"]
    await on_cluster.client.aclose()


async def test_redis_away_means_no_file(
    objects: ObjectStore, elsewhere: Elsewhere, broker: BrokerProcess
) -> None:
    """Nothing is stored that could not be listed, and the sentence says what is away."""
    broker.kill()
    store = elsewhere.store
    for call in (
        store.save(OWNER, SESSION, "x", pieces(b"x")),
        store.find(OWNER, SESSION, FileId("f")),
        store.listing(OWNER, SESSION),
        store.delete(OWNER, SESSION, FileId("f")),
        store.delete_session(OWNER, SESSION),
        elsewhere.sweep.once(),
    ):
        with pytest.raises(Unavailable, match=r"Redis at unix:.* cannot be reached"):
            await call
    assert await left_behind(objects) == []


async def test_redis_going_away_during_an_upload(
    objects: ObjectStore, elsewhere: Elsewhere, broker: BrokerProcess
) -> None:
    """The upload fails; its bytes are cleared away once its lease has run out."""

    async def content() -> AsyncIterator[bytes]:
        yield b"x"
        broker.kill()

    with pytest.raises(Unavailable, match="Redis at"):
        await elsewhere.store.save(OWNER, SESSION, "x", content())
    broker.start()
    assert await elsewhere.store.listing(OWNER, SESSION) == []
    assert len(await left_behind(objects)) == 1
    assert await elsewhere.sweep.once() == Swept()
    (writing,) = await elsewhere.client.keys("*:writing")
    for member in await elsewhere.client.zrange(writing, 0, -1):
        await elsewhere.client.zadd(writing, {member: 1})  # as if it were later
    assert await elsewhere.sweep.once() == Swept(orphans=1)
    assert await left_behind(objects) == []


async def test_a_redis_without_memory_refuses_in_a_sentence(
    objects: ObjectStore, elsewhere: Elsewhere
) -> None:
    """What can be read still is."""
    ref = await elsewhere.store.save(OWNER, SESSION, "x", pieces(b"x"))
    await elsewhere.client.config_set("maxmemory", 1)
    with pytest.raises(Unavailable, match="OutOfMemoryError"):
        await elsewhere.store.save(OWNER, SESSION, "y", pieces(b"y"))
    assert await bytes_of(elsewhere.store, SESSION, ref.id) == b"x"
    assert await left_behind(objects) == [f"files/{SESSION}/{ref.id}"]


async def test_a_record_is_committed_once_however_often_it_is_sent(elsewhere: Elsewhere) -> None:
    """A client that lost the answer sends again: the bytes must not count twice."""
    store = elsewhere.store
    ref = await store.save(OWNER, SESSION, "x", pieces(b"x" * 100))
    stored = await store.find(OWNER, SESSION, ref.id)
    assert stored is not None
    await store.records.commit(stored)
    async with store.records.writing(OWNER, SESSION, FileId("next")) as session_bytes:
        assert session_bytes == 100
    assert len(await store.listing(OWNER, SESSION)) == 1


async def test_sessions_without_files_leave_the_list_in_time(elsewhere: Elsewhere) -> None:
    """So that sweeps do not look for them for ever; a young one stays, its file may be on its way."""
    store = elsewhere.store
    await store.save(OWNER, SESSION, "x", pieces(b"x"))
    await store.delete_session(OWNER, SESSION)
    await elsewhere.sweep.once()
    assert await store.records.sessions() == [SESSION]
    await elsewhere.client.zadd(store.records.sessions_key, {SESSION: 1})
    await elsewhere.sweep.once()
    assert await store.records.sessions() == []
