"""Variables of sessions, from run to run, over real stores and pretended sandboxes."""

import asyncio
from datetime import timedelta

import pytest

from handlers.run_code import RunCodeConfig, RunCodeHandler
from handlers.running import Registry
from handlers.state import States
from infra.errors import Unavailable
from infra.redis import build_redis
from infra.stores.folder_objects import FolderObjects
from infra.stores.state import StateStore, StateTerms
from infra.stores.state_archive import StateArchive
from sandboxes.fake_script import Die, End, Put, Recall, Remember, Wait, Write
from schemas.events import StateInfo
from schemas.ids import SessionId, TenantId
from schemas.limits import Limits, SandboxLimits
from schemas.validate import Bounds

SESSION = SessionId("a-conversation")
DEFAULT = TenantId("default")


@pytest.fixture
async def store(redis_config, tmp_path):
    client = build_redis(redis_config)
    terms = StateTerms(ttl_s=600, archive_ttl=timedelta(days=1))
    yield StateStore(client, redis_config, FolderObjects(tmp_path / "objects"), terms)
    await client.aclose()


@pytest.fixture
def states(store):
    return States(store, bytes_max=1000)


@pytest.fixture
def handler(transport, sandboxes, files, registry, policy, now, states):  # noqa: PLR0917 - fixtures
    config = RunCodeConfig(
        bounds=Bounds(), limits=SandboxLimits(timeout_s=20), policy=policy, sandbox_patience_s=0.2
    )
    return RunCodeHandler(config, transport, sandboxes, files, registry, now, states=states)


@pytest.fixture
def session(run):
    """Run steps in one session; returns what was written and the `finished`."""

    async def steps(*steps, **fields):
        events = await run(*steps, **{"session_id": SESSION, **fields})
        written = "".join(event.data for event in events if hasattr(event, "data"))
        return written, events[-1]

    return steps


async def test_a_session_remembers(session) -> None:
    _, first = await session(Remember("x", "kept"))
    written, second = await session(Recall("x"))
    assert first.state == StateInfo(saved=True, size_bytes=len('{"x":"kept"}'))
    assert (written, second.state.saved) == ("kept", True)


async def test_the_state_is_stored_before_finished_is_written(session, store, transport, monkeypatch) -> None:
    """Whoever reads `finished` may start the next run anywhere."""
    seen = []
    finish = transport.finish

    async def finish_looking(*args):
        seen.append(await store.read(DEFAULT, SESSION))
        return await finish(*args)

    monkeypatch.setattr(transport, "finish", finish_looking)
    await session(Remember("x", "kept"))
    assert [state.data for state in seen] == [b'{"x":"kept"}']


async def test_without_a_session_nothing_is_kept(session) -> None:
    _, finished = await session(Remember("x", "1"), session_id=None)
    assert finished.state == StateInfo()


async def test_an_execution_that_is_a_session_of_its_own_keeps_nothing(session, store) -> None:
    """As every plain `POST /exec` is."""
    _, finished = await session(Remember("x", "1"), id="alone", session_id="alone")
    assert finished.state == StateInfo()
    assert await store.read(DEFAULT, SessionId("alone")) is None


async def test_it_does_where_the_operator_wants_it(session, store, handler) -> None:
    """Whoever goes on with it finds its variables; it itself begins with nothing."""
    handler._states = States(store, handler._states.bytes_max, own_sessions=True)
    _, first = await session(Remember("x", "kept"), id="own", session_id="own")
    assert first.state.saved
    assert (await session(Recall("x"), session_id="own", session_unlisted=True))[0] == "kept"
    assert (await session(Recall("x"), id="other", session_id="other"))[0] == ""


async def test_other_languages_keep_nothing(session, store) -> None:
    _, finished = await session(Remember("x", "1"), language="js")
    assert finished.state == StateInfo()
    assert await store.read(DEFAULT, SESSION) is None


async def test_sessions_and_owners_do_not_mix(session) -> None:
    await session(Remember("x", "mine"))
    assert (await session(Recall("x"), tenant="other"))[0] == ""
    assert (await session(Recall("x"), session_id="another"))[0] == ""
    assert (await session(Recall("x")))[0] == "mine"


@pytest.mark.parametrize("end", [Die("SIGKILL"), Die(outcome="out_of_memory"), End(3)])
async def test_a_run_that_ended_badly_leaves_the_state_of_before(session, end) -> None:
    await session(Remember("x", "before"))
    _, finished = await session(Remember("x", "after"), end)
    assert finished.state.saved is False
    assert finished.state.error
    assert (await session(Recall("x")))[0] == "before"


async def test_a_run_past_its_time_leaves_the_state_of_before(session) -> None:
    await session(Remember("x", "before"))
    _, finished = await session(Remember("x", "after"), Wait(), limits=Limits(timeout_s=0.1))
    assert (finished.outcome, finished.state.saved) == ("timed_out", False)
    assert (await session(Recall("x")))[0] == "before"


async def test_too_much_is_said_and_the_run_stays_good(session) -> None:
    written, finished = await session(Remember("x", "y" * 2000), Write("done"))
    assert (finished.outcome, finished.exit_code, written) == ("exited", 0, "done")
    assert (finished.state.saved, bool(finished.state.error)) == (False, True)


async def test_a_state_replaced_while_the_code_ran_is_not_overwritten(session, store, sandboxes) -> None:
    await session(Remember("x", "before"))
    acquire = sandboxes.acquire

    async def acquire_and_meddle(spec):
        sandbox = await acquire(spec)
        take = sandbox.saved_state

        async def take_late():
            await store.save(DEFAULT, SESSION, b'{"x":"uploaded"}')
            return await take()

        sandbox.saved_state = take_late
        return sandbox

    sandboxes.acquire = acquire_and_meddle
    _, finished = await session(Remember("x", "after"))
    assert "replaced by somebody else" in finished.state.error
    sandboxes.acquire = acquire
    assert (await session(Recall("x")))[0] == "uploaded"


@pytest.fixture
def meanwhile(sandboxes):
    """Do something between the end of the code and the saving of its variables."""

    def arrange(happen):
        acquire = sandboxes.acquire

        async def acquire_and_wait(spec):
            sandbox = await acquire(spec)
            take = sandbox.saved_state

            async def take_late():
                sandbox.saved_state = take
                sandboxes.acquire = acquire
                await happen(spec.execution_id)
                return await take()

            sandbox.saved_state = take_late
            return sandbox

        sandboxes.acquire = acquire_and_wait

    return arrange


@pytest.fixture
def taken_over(broker, transport, handler, delivery_of):
    """The lease runs out, and another handler is handed the entry."""

    async def take_over(execution_id):
        (entry,) = broker.entries.values()
        broker.execution(execution_id).held_until = 0.0
        other = RunCodeHandler(
            handler._config,
            transport,
            handler._taker._sandboxes,
            handler._files,
            Registry(),
            handler._now,
            states=handler._states,
        )
        await other.on_delivery(delivery_of(entry.body, entry.id))

    return take_over


async def test_a_handler_that_slept_through_its_lease_saves_nothing(session, meanwhile, taken_over) -> None:
    """Its execution is lost, and the session stays as it was."""
    await session(Remember("x", "before"))
    meanwhile(taken_over)
    _, finished = await session(Remember("x", "after"))
    assert finished.outcome == "lost"
    assert (await session(Recall("x")))[0] == "before"


async def test_the_attempt_that_counts_saves_and_the_one_before_does_not(
    session, meanwhile, taken_over
) -> None:
    """The one that slept wakes when the other has ended, and begins where it was: before it saves."""
    meanwhile(taken_over)
    _, finished = await session(Remember("x", "kept"), retry="always")
    assert (finished.outcome, finished.attempt, finished.state.saved) == ("exited", 2, True)
    assert (await session(Recall("x")))[0] == "kept"


async def test_a_claim_that_somebody_made_in_his_sleep_is_taken_back(session, meanwhile, store) -> None:
    """Whoever holds the lease can prove it, and saves."""
    meanwhile(lambda _: store.claim(DEFAULT, SESSION, "a-sleeper"))
    _, finished = await session(Remember("x", "kept"))
    assert finished.state.saved
    assert (await session(Recall("x")))[0] == "kept"


async def test_whoever_cannot_prove_his_lease_takes_no_claim_back(session, meanwhile, store, broker) -> None:
    """His execution is somebody else's by now."""
    await session(Remember("x", "before"))

    async def lose_both(execution_id):
        await store.claim(DEFAULT, SESSION, "who-is-next")
        broker.execution(execution_id).lease("another-entry", broker.clock() + 0.2)

    meanwhile(lose_both)
    asleep = asyncio.create_task(session(Remember("x", "after")))
    await asyncio.wait([asleep], timeout=0.2)
    assert not asleep.done()
    assert (await store.read(DEFAULT, SESSION)).data == b'{"x":"before"}'
    asleep.cancel()


async def test_what_is_archived_while_the_code_runs_is_replaced_all_the_same(
    session, meanwhile, store
) -> None:
    """The claim goes with it, and is made again."""
    await session(Remember("x", "before"))

    async def archive(_):
        await StateArchive(store, after_s=0, every_s=1).once()

    meanwhile(archive)
    _, finished = await session(Remember("x", "after"))
    assert finished.state.saved
    assert (await session(Recall("x")))[0] == "after"


async def test_a_state_that_cannot_be_read_is_neither_used_nor_replaced(session, store, monkeypatch) -> None:
    await session(Remember("x", "before"))

    async def away(*_):
        raise Unavailable("The archive is away.")

    monkeypatch.setattr(store, "load", away)
    written, finished = await session(Recall("x"), Remember("x", "after"), Put("made.txt", "x"))
    assert (finished.outcome, written, len(finished.files)) == ("exited", "", 1)
    assert finished.state.saved is False
    assert "The archive is away." in finished.state.error
    monkeypatch.undo()
    assert (await session(Recall("x")))[0] == "before"


async def test_a_state_that_cannot_be_saved_is_said(session, store, monkeypatch) -> None:
    async def away(*_):
        raise Unavailable("Redis is away.")

    monkeypatch.setattr(store, "save", away)
    _, finished = await session(Remember("x", "after"))
    assert finished.outcome == "exited"
    assert "Redis is away." in finished.state.error
