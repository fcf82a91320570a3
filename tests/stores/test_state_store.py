"""Python state of sessions: hot in Redis, archived where files lie, and whoever comes later finds it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from infra.errors import Unavailable
from infra.redis import RedisClient, RedisConfig
from infra.stores.objects import ObjectStore
from infra.stores.recent import Recent
from infra.stores.saved_state import StateChanged, StateClaimed
from infra.stores.state import NONE, StateStore, StateTerms, name_of, object_key
from infra.stores.state_archive import Archived, StateArchive
from schemas.ids import SessionId, TenantId

OWNER, STRANGER = TenantId("anna"), TenantId("boris")
SESSION = SessionId("s" * 21)
WEEK = timedelta(days=7)

OpenStates = Callable[..., StateStore]


@pytest.fixture
def open_states(objects: ObjectStore, redis: RedisClient, redis_config: RedisConfig) -> OpenStates:
    """Make stores over the same bytes and keys, as of several processes."""

    def make(
        *, ttl_s: float = 3600, archive_ttl: timedelta | None = WEEK, recent_bytes_max: int = 0
    ) -> StateStore:
        terms = StateTerms(ttl_s=ttl_s, archive_ttl=archive_ttl, recent_bytes_max=recent_bytes_max)
        return StateStore(redis, redis_config, objects, terms)

    return make


@pytest.fixture
def states(open_states: OpenStates) -> StateStore:
    return open_states()


@pytest.fixture
def archive(states: StateStore) -> StateArchive:
    """One that takes whatever there is."""
    return StateArchive(states, after_s=0, every_s=1)


async def flush(states: StateStore) -> None:
    """Lose all that Redis knows of states."""
    async for key in states.client.scan_iter(f"{states.config.prefix}*"):
        await states.client.delete(key)


async def stored(objects: ObjectStore) -> list[str]:
    return [found.key async for found in objects.listing("state/")]


async def loaded(states: StateStore, owner: TenantId = OWNER) -> bytes | None:
    state = await states.load(owner, SESSION)
    return state and state.data


async def test_what_was_saved_is_loaded(states: StateStore) -> None:
    data = bytes(range(256)) * 5000
    record = await states.save(OWNER, SESSION, data)
    assert (record.etag, record.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    state = await states.load(OWNER, SESSION)
    assert state is not None
    assert (state.data, state.record.etag, state.record.tier) == (data, record.etag, "hot")


async def test_what_was_never_saved_is_not_there(states: StateStore) -> None:
    assert await states.load(OWNER, SESSION) is None
    assert await states.find(OWNER, SESSION) is None
    assert await states.delete(OWNER, SESSION) is False


async def test_a_state_that_is_known_here_is_not_fetched_again(open_states: OpenStates) -> None:
    """Its bytes are put away where no other process could know them, to see whence they come."""
    states = open_states(recent_bytes_max=1000)
    await states.save(OWNER, SESSION, b"known")
    await states.client.hset(states.key(name_of(OWNER, SESSION)), "data", b"changed in secret")
    assert await loaded(states) == b"known"
    assert await loaded(open_states(recent_bytes_max=1000)) == b"changed in secret"


async def test_what_did_not_change_is_as_good_as_saved(states: StateStore) -> None:
    """It lives on from now, and somebody else's is no less in the way."""
    first = await states.save(OWNER, SESSION, b"same")
    await states.client.pexpire(states.key(name_of(OWNER, SESSION)), 60_000)
    again = await states.save(OWNER, SESSION, b"same", first.etag)
    found = await states.find(OWNER, SESSION)
    assert found is not None
    assert (found.etag, found.size_bytes) == (first.etag, 4)
    assert found.saved_at >= first.saved_at.replace(microsecond=0)
    assert (found.expires_at - again.saved_at).total_seconds() > 3000
    await states.save(OWNER, SESSION, b"another")
    with pytest.raises(StateChanged):
        await states.save(OWNER, SESSION, b"same", first.etag)
    assert await loaded(states) == b"another"


async def test_what_another_process_saved_or_forgot_meanwhile_counts(open_states: OpenStates) -> None:
    states, others = open_states(recent_bytes_max=1000), open_states(recent_bytes_max=1000)
    await states.save(OWNER, SESSION, b"mine")
    await others.save(OWNER, SESSION, b"theirs")
    assert (await loaded(states), await loaded(states)) == (b"theirs", b"theirs")
    await others.delete(OWNER, SESSION)
    assert await loaded(states) is None


def test_no_more_is_kept_here_than_was_agreed() -> None:
    """The oldest goes first, and what is very large is not kept at all."""
    recent = Recent(400)
    for number in range(6):
        recent.keep(f"name-{number}", "etag", bytes(100))
    recent.keep("large", "etag", bytes(101))
    assert [name for name in ("large", *(f"name-{n}" for n in range(6))) if recent.etag(name)] == [
        f"name-{number}" for number in range(2, 6)
    ]
    assert recent.get("name-5", "etag") == bytes(100)
    assert recent.get("name-5", "another") is None


async def test_owners_do_not_meet(states: StateStore) -> None:
    await states.save(OWNER, SESSION, b"anna's")
    assert await loaded(states, STRANGER) is None
    assert await states.delete(STRANGER, SESSION) is False
    await states.save(STRANGER, SESSION, b"boris's")
    assert (await loaded(states), await loaded(states, STRANGER)) == (b"anna's", b"boris's")


async def test_only_what_was_expected_is_replaced(states: StateStore) -> None:
    first = await states.save(OWNER, SESSION, b"one", NONE)
    with pytest.raises(StateChanged):
        await states.save(OWNER, SESSION, b"two", NONE)
    await states.save(OWNER, SESSION, b"two", first.etag)
    with pytest.raises(StateChanged):
        await states.save(OWNER, SESSION, b"three", first.etag)
    assert await loaded(states) == b"two"


@pytest.mark.everywhere
async def test_of_many_who_replace_the_same_one_wins(states: StateStore) -> None:
    first = await states.save(OWNER, SESSION, b"one")
    saves = [states.save(OWNER, SESSION, b"by %d" % n, first.etag) for n in range(20)]
    results = await asyncio.gather(*saves, return_exceptions=True)
    assert sum(not isinstance(result, StateChanged) for result in results) == 1


async def test_only_who_claimed_it_last_saves(states: StateStore) -> None:
    """Whatever state is expected; and clients, who claim nothing, as ever."""
    first = await states.save(OWNER, SESSION, b"before")
    for name in ("earlier", "later"):
        await states.load(OWNER, SESSION, name)
    with pytest.raises(StateClaimed):
        await states.save(OWNER, SESSION, b"of the earlier", first.etag, "earlier")
    saved = await states.save(OWNER, SESSION, b"of the later", first.etag, "later")
    with pytest.raises(StateChanged):
        await states.save(OWNER, SESSION, b"of the later, once more", first.etag, "later")
    await states.save(OWNER, SESSION, b"of a client", saved.etag)
    assert await loaded(states) == b"of a client"


async def test_a_claim_on_nothing_is_no_state(states: StateStore) -> None:
    """It counts, and shows nowhere."""
    assert await states.load(OWNER, SESSION, "mine") is None
    assert await states.find(OWNER, SESSION) is None
    assert await states.read(OWNER, SESSION) is None
    assert await states.delete(OWNER, SESSION) is False
    with pytest.raises(StateClaimed):
        await states.save(OWNER, SESSION, b"mine", NONE, "mine")
    await states.claim(OWNER, SESSION, "mine")
    await states.save(OWNER, SESSION, b"mine", NONE, "mine")
    assert await loaded(states) == b"mine"


async def test_looking_says_when_it_ends(states: StateStore) -> None:
    await states.save(OWNER, SESSION, b"12345")
    record = await states.find(OWNER, SESSION)
    assert record is not None
    assert (record.size_bytes, record.tier) == (5, "hot")
    assert timedelta(seconds=3500) < record.expires_at - record.saved_at < timedelta(seconds=3700)


async def test_hot_state_ends_without_use(open_states: OpenStates) -> None:
    states = open_states(ttl_s=0.3, archive_ttl=None)
    await states.save(OWNER, SESSION, b"brief")
    async with asyncio.timeout(10):
        while await states.find(OWNER, SESSION) is not None:
            await asyncio.sleep(0.02)


async def test_every_use_makes_it_last(states: StateStore) -> None:
    await states.save(OWNER, SESSION, b"x")
    key = states.key(name_of(OWNER, SESSION))
    await states.client.pexpire(key, 1000)
    await states.load(OWNER, SESSION)
    assert await states.client.pttl(key) > 3_000_000


@pytest.mark.everywhere
async def test_idle_state_is_archived_and_comes_back_unasked(
    states: StateStore, archive: StateArchive, objects: ObjectStore
) -> None:
    saved = await states.save(OWNER, SESSION, b"precious" * 100_000)
    assert await archive.once() == Archived(archived=1)
    record = await states.find(OWNER, SESSION)
    assert record is not None
    assert (record.tier, record.etag, record.size_bytes) == ("archived", saved.etag, 800_000)
    assert timedelta(days=6.9) < record.expires_at - record.saved_at <= WEEK
    assert await loaded(states) == b"precious" * 100_000
    hot = await states.find(OWNER, SESSION)
    assert hot is not None
    assert (hot.tier, hot.etag) == ("hot", saved.etag)


async def test_archived_state_survives_the_loss_of_redis(states: StateStore, archive: StateArchive) -> None:
    await states.save(OWNER, SESSION, b"precious")
    await archive.once()
    await flush(states)
    assert await loaded(states) == b"precious"
    assert await loaded(states, STRANGER) is None


async def test_what_is_used_stays_hot(states: StateStore, objects: ObjectStore) -> None:
    await states.save(OWNER, SESSION, b"x")
    assert await StateArchive(states, after_s=600, every_s=1).once() == Archived()
    assert await stored(objects) == []


async def test_what_would_expire_before_it_is_idle_long_enough_is_archived(
    open_states: OpenStates, objects: ObjectStore
) -> None:
    states = open_states(ttl_s=10)
    await states.save(OWNER, SESSION, b"x")
    assert await StateArchive(states, after_s=3600, every_s=5).once() == Archived(archived=1)


async def test_the_newest_of_archived_states_counts_and_only_it_is_kept(
    states: StateStore, archive: StateArchive, objects: ObjectStore
) -> None:
    for data in (b"one", b"two", b"three"):
        await states.save(OWNER, SESSION, data)
        await archive.once()
    name, etag = name_of(OWNER, SESSION), hashlib.sha256(b"three").hexdigest()
    assert await stored(objects) == [object_key(name, etag)]
    assert await loaded(states) == b"three"


async def test_a_state_saved_while_the_old_one_is_archived_wins(
    states: StateStore, archive: StateArchive, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await states.save(OWNER, SESSION, b"old")
    put = objects.put

    async def put_late(key: str, content: AsyncIterator[bytes]) -> int:
        size = await put(key, content)
        await states.save(OWNER, SESSION, b"new")
        return size

    monkeypatch.setattr(objects, "put", put_late)
    assert await archive.once() == Archived()
    assert await loaded(states) == b"new"
    assert await stored(objects) == []


async def test_an_archived_state_can_be_replaced_by_its_etag(
    states: StateStore, archive: StateArchive
) -> None:
    saved = await states.save(OWNER, SESSION, b"one")
    await archive.once()
    with pytest.raises(StateChanged):
        await states.save(OWNER, SESSION, b"two", NONE)
    await states.save(OWNER, SESSION, b"two", saved.etag)
    assert await loaded(states) == b"two"


@pytest.mark.everywhere
async def test_an_ended_session_leaves_nothing_anywhere(
    states: StateStore, archive: StateArchive, objects: ObjectStore
) -> None:
    await states.save(OWNER, SESSION, b"archived")
    await archive.once()
    await states.save(OWNER, SESSION, b"hot")
    await states.delete_session(OWNER, SESSION)
    assert await loaded(states) is None
    assert await stored(objects) == []
    assert await archive.once() == Archived()


async def test_archived_state_ends_after_its_time(
    open_states: OpenStates, archive: StateArchive, states: StateStore, objects: ObjectStore
) -> None:
    await states.save(OWNER, SESSION, b"x")
    await archive.once()
    later = open_states(archive_ttl=timedelta())
    assert await loaded(later) is None
    assert await StateArchive(later, after_s=0, every_s=1).once() == Archived(expired=1)
    assert await stored(objects) == []


async def test_without_an_archive_none_is_asked(
    open_states: OpenStates, states: StateStore, archive: StateArchive
) -> None:
    await states.save(OWNER, SESSION, b"x")
    await archive.once()
    assert await loaded(open_states(archive_ttl=None)) is None


async def test_a_damaged_archive_is_no_state(
    states: StateStore, archive: StateArchive, objects: ObjectStore
) -> None:
    saved = await states.save(OWNER, SESSION, b"whole")
    await archive.once()

    async def other() -> AsyncIterator[bytes]:
        yield b"other"

    await objects.put(object_key(name_of(OWNER, SESSION), saved.etag), other())
    assert await loaded(states) is None


async def test_when_the_archive_is_away_that_is_said_and_nothing_is_lost(
    states: StateStore, archive: StateArchive, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await states.save(OWNER, SESSION, b"x")

    async def away(*_: object) -> int:
        raise Unavailable("The store is away.")

    monkeypatch.setattr(objects, "put", away)
    with pytest.raises(Unavailable):
        await archive.once()
    assert await loaded(states) == b"x"
    monkeypatch.undo()
    assert await archive.once() == Archived(archived=1)


async def test_one_process_of_all_looks(states: StateStore) -> None:
    """Two that begin at once: one leads, and the other leaves it to him."""
    first, second = (StateArchive(states, after_s=0, every_s=60) for _ in range(2))
    assert sorted([await first._lead(), await second._lead()]) == [False, True]
