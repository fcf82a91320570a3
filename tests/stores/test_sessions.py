"""Sessions in Redis, in one place and as a cluster: owners, limits, ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from infra.errors import Unavailable
from infra.redis import RedisConfig, build_redis
from infra.stores.session_sweep import SessionSweep
from infra.stores.sessions import RedisSessions, TooManySessions, UnknownSession
from schemas.ids import SessionId, TenantId

ACME, MALLORY = TenantId("acme"), TenantId("mallory")
NOTEBOOK = SessionId("notebook")
MakeSessions = Callable[..., RedisSessions]


class Keeper:
    """A store that keeps something of every session. `away` makes it fail."""

    def __init__(self) -> None:
        self.deleted: list[tuple[str, str]] = []
        self.away = False

    async def delete_session(self, owner: TenantId, session_id: SessionId) -> None:
        if self.away:
            raise Unavailable("The keeper is away.")
        self.deleted.append((owner, session_id))


@pytest.fixture(params=["redis", "secure cluster", "sentinel"])
def redis_kind(request: pytest.FixtureRequest) -> str:
    """Which Redis they are kept in: all of these tests run on each."""
    return request.param


@pytest.fixture
async def client(redis_config: RedisConfig) -> AsyncIterator[Any]:
    client = build_redis(redis_config)
    yield client
    await client.aclose()


@pytest.fixture
def make(client: Any, redis_config: RedisConfig) -> MakeSessions:
    """Return sessions as of one more process."""

    def make(ttl_s: float = 3600.0, sessions_max: int = 100, id_length: int = 32) -> RedisSessions:
        return RedisSessions(
            client, redis_config, ttl_s=ttl_s, sessions_max=sessions_max, id_length=id_length
        )

    return make


async def gone(sessions: RedisSessions, owner: TenantId = ACME, session_id: SessionId = NOTEBOOK) -> None:
    """Wait until a session is not there any more."""
    async with asyncio.timeout(20):
        while await sessions.find(owner, session_id):
            await asyncio.sleep(0.01)


async def test_a_session_is_opened_under_an_id_as_long_as_asked(make: MakeSessions) -> None:
    """It is its owner's, and nobody else's."""
    sessions = make(id_length=40)
    opened = await sessions.open(ACME)
    assert len(opened.id) == 40
    assert await sessions.find(ACME, opened.id) == opened
    assert await sessions.find(MALLORY, opened.id) is None
    assert await sessions.owner_of(opened.id) == ACME


async def test_a_session_may_be_opened_by_its_first_use(make: MakeSessions) -> None:
    """Under a name of the caller's choice; each use lets it live longer, and it stays as old as it is."""
    sessions = make()
    first = await sessions.use(ACME, NOTEBOOK)
    await asyncio.sleep(0.01)
    again = await sessions.use(ACME, NOTEBOOK)
    assert again.opened_at == first.opened_at
    assert again.expires_at > first.expires_at
    found = await sessions.find(ACME, NOTEBOOK)
    assert found == again, "looking is no use"


async def test_a_session_of_another_owner_is_unknown(make: MakeSessions) -> None:
    """It can neither be used nor found, listed or ended."""
    sessions = make()
    await sessions.use(ACME, NOTEBOOK)
    with pytest.raises(UnknownSession, match="notebook"):
        await sessions.use(MALLORY, NOTEBOOK)
    await sessions.end(MALLORY, NOTEBOOK)
    assert await sessions.find(ACME, NOTEBOOK)
    assert await sessions.owner_of(NOTEBOOK) == ACME
    assert await sessions.listing(MALLORY, 0, 10) == (0, [])


async def test_a_session_too_many_is_refused_with_the_limit(make: MakeSessions) -> None:
    """Those that are there can be used all the same; ending one makes room; other owners have their own."""
    sessions = make(sessions_max=2)
    first, _ = await sessions.open(ACME), await sessions.open(ACME)
    for opening in (sessions.open(ACME), sessions.use(ACME, NOTEBOOK)):
        with pytest.raises(TooManySessions, match="2 sessions") as raised:
            await opening
        assert raised.value.limit == 2
    assert await sessions.owner_of(NOTEBOOK) is None
    await sessions.use(ACME, first.id)
    await sessions.open(MALLORY)
    await sessions.end(ACME, first.id)
    await sessions.use(ACME, NOTEBOOK)


async def test_the_limit_holds_for_any_number_of_processes_at_once(make: MakeSessions) -> None:
    """Never one more."""
    processes = [make(sessions_max=5) for _ in range(4)]
    tries = [process.open(ACME) for process in processes for _ in range(10)]
    opened = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, TooManySessions) for one in opened) == 35
    assert (await processes[0].listing(ACME, 0, 100))[0] == 5


async def test_sessions_are_listed_in_pages_the_last_used_first(make: MakeSessions) -> None:
    """With how many there are in all."""
    sessions = make()
    for name in ("one", "two", "three"):
        await sessions.use(ACME, SessionId(name))
        await asyncio.sleep(0.003)
    await sessions.use(ACME, SessionId("one"))
    total, page = await sessions.listing(ACME, 0, 2)
    assert (total, [session.id for session in page]) == (3, ["one", "three"])
    total, page = await sessions.listing(ACME, 2, 2)
    assert (total, [session.id for session in page]) == (3, ["two"])


async def test_a_session_that_is_not_used_expires_and_makes_room(make: MakeSessions) -> None:
    """Then it is unknown, the sweep forgets what it left, and anybody may have the name."""
    sessions, keeper, state = make(ttl_s=0.2, sessions_max=1), Keeper(), Keeper()
    await sessions.use(ACME, NOTEBOOK)
    await gone(sessions)
    assert await sessions.listing(ACME, 0, 10) == (0, [])
    sweep = SessionSweep(sessions, [keeper], lasting=[state])
    assert await sweep.once() == 1
    assert keeper.deleted == [(ACME, NOTEBOOK)]
    assert state.deleted == [], "state has a time of its own"
    assert await sweep.once() == 0
    await sessions.use(MALLORY, NOTEBOOK)


async def test_a_session_that_is_used_lives_on_and_keeps_what_it_has(make: MakeSessions) -> None:
    """However long ago it was opened."""
    sessions, keeper = make(ttl_s=0.3), Keeper()
    opened = await sessions.use(ACME, NOTEBOOK)
    for _ in range(8):
        await asyncio.sleep(0.1)
        assert (await sessions.use(ACME, NOTEBOOK)).opened_at == opened.opened_at
        assert await SessionSweep(sessions, [keeper]).once() == 0
    assert keeper.deleted == []


async def test_ending_a_session_clears_every_store_and_may_be_done_twice(make: MakeSessions) -> None:
    """Also of one that nobody opened here, as files may be all there is of it."""
    sessions, files, state = make(), Keeper(), Keeper()
    sweep = SessionSweep(sessions, [files, state])
    await sessions.use(ACME, NOTEBOOK)
    for _ in range(2):
        await sweep.end(ACME, NOTEBOOK)
    assert await sessions.find(ACME, NOTEBOOK) is None
    assert files.deleted == state.deleted == [(ACME, NOTEBOOK)] * 2
    assert await sessions.ended(10) == []


async def test_what_could_not_be_cleared_is_cleared_by_a_later_sweep(make: MakeSessions) -> None:
    """The session is unknown at once, and stays listed until nothing is left of it."""
    sessions, keeper, state = make(), Keeper(), Keeper()
    sweep = SessionSweep(sessions, [keeper], lasting=[state])
    await sessions.use(ACME, NOTEBOOK)
    keeper.away = True
    with pytest.raises(Unavailable):
        await sweep.end(ACME, NOTEBOOK)
    assert await sessions.find(ACME, NOTEBOOK) is None
    keeper.away = False
    assert await sweep.once() == 1
    assert keeper.deleted == state.deleted == [(ACME, NOTEBOOK)]


async def test_a_session_opened_again_while_the_old_one_is_cleared_stays(make: MakeSessions) -> None:
    """The note that nothing is left comes too late for it."""
    sessions = make()
    await sessions.use(ACME, NOTEBOOK)
    await sessions.end(ACME, NOTEBOOK)
    again = await sessions.use(ACME, NOTEBOOK)
    await sessions.cleared(ACME, NOTEBOOK)
    assert await sessions.find(ACME, NOTEBOOK) == again
    assert await sessions.ended(10) == []


async def test_one_of_all_processes_sweeps(make: MakeSessions) -> None:
    """Until its time is over."""
    processes = [make() for _ in range(3)]
    leads = [await process.lead(0.2) for process in processes]
    assert leads == [True, False, False]
    async with asyncio.timeout(20):
        while not await processes[1].lead(60):
            await asyncio.sleep(0.01)


async def test_nothing_of_a_session_stays_in_redis_for_ever(
    make: MakeSessions, client: Any, redis_config: RedisConfig
) -> None:
    """Every key expires, or holds nothing once the session is cleared."""
    sessions = make()
    await sessions.use(ACME, NOTEBOOK)
    keys = [key async for key in client.scan_iter(match=f"*{redis_config.prefix}*")]
    lives = {key: await client.pttl(key) for key in keys}
    assert {key for key, life in lives.items() if life < 0} == {
        f"{redis_config.prefix}millrace:session-ends".encode()
    }
    await SessionSweep(sessions, []).end(ACME, NOTEBOOK)
    assert [key async for key in client.scan_iter(match=f"*{redis_config.prefix}*")] == []


async def test_a_redis_that_is_away_is_said() -> None:
    """By where it should be."""
    config = RedisConfig(url="redis://127.0.0.1:1/0", connect_timeout_s=0.2)
    client = build_redis(config)
    sessions = RedisSessions(client, config, ttl_s=1, sessions_max=1, id_length=32)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await sessions.open(ACME)
    await client.aclose()
