"""Stored files: kept exactly, listed when whole, unknown to strangers, and never left half."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from infra.errors import RequestRefused, Unavailable
from infra.redis import RedisClient
from infra.stores.file_sweep import FileSweep
from infra.stores.files import FileStore
from infra.stores.objects import ObjectStore
from infra.stores.s3_objects import S3Objects
from infra.stores.stored_file import FileAttributes, FileOrigin
from schemas.files import FileRef
from schemas.ids import FileId, SessionId, TenantId, is_opaque_id
from tests.stores.conftest import (
    MIB,
    OWNER,
    SESSION,
    STRANGER,
    OpenStore,
    bytes_of,
    eventually,
    left_behind,
    pieces,
)

OTHER_SESSION = SessionId("t" * 21)


async def _names(store: FileStore, owner: TenantId = OWNER) -> list[str]:
    return [stored.ref.name for stored in await store.listing(owner, SESSION)]


@pytest.mark.everywhere
async def test_a_saved_file_is_found_with_all_that_was_said_of_it(store: FileStore) -> None:
    """Content, size, digest, and every attribute."""
    said = FileAttributes(
        content_type="text/x-special",
        read_only=True,
        kind="skill",
        resource_id="r1",
        version=3,
        entity_id="agent",
        modified_from=FileOrigin(id=FileId("before"), session_id=OTHER_SESSION),
    )
    ref = await store.save(OWNER, SESSION, "data.csv", pieces(b"a,b\n", b"1,2\n"), said)
    stored = await store.find(OWNER, SESSION, ref.id)
    assert stored is not None
    assert (stored.ref, stored.owner, stored.attributes) == (ref, OWNER, said)
    assert (ref.session_id, ref.name, ref.size_bytes) == (SESSION, "data.csv", 8)
    assert ref.content_type == "text/x-special"
    assert stored.sha256 == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert await bytes_of(store, SESSION, ref.id) == b"a,b\n1,2\n"


async def test_ids_are_what_chat_front_ends_accept(store: FileStore) -> None:
    """21 characters, and no two alike."""
    refs = [await store.save(OWNER, SESSION, "same", pieces(b"x")) for _ in range(3)]
    assert len({ref.id for ref in refs}) == 3
    assert all(len(ref.id) == 21 and is_opaque_id(ref.id) for ref in refs)


@pytest.mark.parametrize(
    "name",
    [
        "skills/x/SKILL.md",
        "a (1) [é] 'q'.txt",
        "名前.csv",
        "tab\there",
        "\u202egpj.exe",
        "x" * 255,
        "100%.txt",
    ],
)
async def test_names_are_kept_exactly(store: FileStore, name: str) -> None:
    """They never become part of a path or a key."""
    ref = await store.save(OWNER, SESSION, name, pieces(b"x"))
    assert (ref.name, await _names(store)) == (name, [name])


async def test_a_name_that_is_no_text_is_refused(store: FileStore, objects: ObjectStore) -> None:
    """It could not travel in any answer."""
    with pytest.raises(RequestRefused, match="name"):
        await store.save(OWNER, SESSION, "broken-\udc80", pieces(b"x"))
    assert await left_behind(objects) == []


@pytest.mark.parametrize("session", ["", "../etc", "a/b", "s" * 129, "a}b"])
async def test_what_is_no_session_id_has_no_files(store: FileStore, session: str) -> None:
    """And takes none."""
    with pytest.raises(RequestRefused, match="session id"):
        await store.save(OWNER, SessionId(session), "x", pieces(b"x"))
    assert await store.find(OWNER, SessionId(session), FileId("f" * 21)) is None
    assert await store.listing(OWNER, SessionId(session)) == []
    assert await store.delete_session(OWNER, SessionId(session)) == 0


async def test_files_are_listed_in_the_order_in_which_they_were_saved(store: FileStore) -> None:
    """Not by name, not by id, and also after some are gone."""
    refs = [await store.save(OWNER, SESSION, name, pieces(b"x")) for name in "cabfed"]
    await store.delete(OWNER, SESSION, refs[2].id)
    await store.save(OWNER, SESSION, "last", pieces(b"x"))
    assert await _names(store) == ["c", "a", "f", "e", "d", "last"]


async def test_a_stranger_knows_nothing(store: FileStore) -> None:
    """A file of another owner is as unknown as one that never was."""
    ref = await store.save(OWNER, SESSION, "secret", pieces(b"x"))
    assert await store.find(STRANGER, SESSION, ref.id) is None
    assert await store.listing(STRANGER, SESSION) == []
    assert await store.delete(STRANGER, SESSION, ref.id) is False
    assert await store.delete_session(STRANGER, SESSION) == 0
    with pytest.raises(RequestRefused, match="no session"):
        await store.save(STRANGER, SESSION, "intruder", pieces(b"x"))
    assert await _names(store) == ["secret"]


async def test_an_id_is_known_in_its_own_session_only(store: FileStore) -> None:
    """Ids of files are looked up below their session."""
    ref = await store.save(OWNER, SESSION, "here", pieces(b"x"))
    assert await store.find(OWNER, OTHER_SESSION, ref.id) is None
    assert await store.find(OWNER, SESSION, FileId("../" + ref.id)) is None


async def test_a_file_is_found_by_its_id_alone_within_its_owner(store: FileStore) -> None:
    """Some clients name the session they are in instead of the one the file is in."""
    ref = await store.save(OWNER, SESSION, "here", pieces(b"x"))
    found = await store.find_anywhere(OWNER, ref.id)
    assert found is not None
    assert found.ref == ref
    assert await store.find_anywhere(STRANGER, ref.id) is None
    assert await store.find_anywhere(OWNER, FileId("../" + ref.id)) is None
    await store.delete(OWNER, SESSION, ref.id)
    assert await store.find_anywhere(OWNER, ref.id) is None


async def test_a_deleted_file_is_gone_with_its_bytes(store: FileStore, objects: ObjectStore) -> None:
    """The second time there is nothing to delete."""
    ref = await store.save(OWNER, SESSION, "x", pieces(b"x"))
    stored = await store.find(OWNER, SESSION, ref.id)
    assert stored is not None
    assert await store.delete(OWNER, SESSION, ref.id) is True
    assert await store.delete(OWNER, SESSION, ref.id) is False
    assert await left_behind(objects) == []
    with pytest.raises(RequestRefused, match="'x' is no longer stored"):
        await anext(store.read(stored))


@pytest.mark.everywhere
async def test_a_session_is_deleted_with_all_its_files(store: FileStore, objects: ObjectStore) -> None:
    """Other sessions keep theirs, and anybody may use the id afterwards."""
    for name in "abc":
        await store.save(OWNER, SESSION, name, pieces(b"x"))
    other = await store.save(OWNER, OTHER_SESSION, "d", pieces(b"x"))
    assert await store.delete_session(OWNER, SESSION) == 3
    assert await left_behind(objects) == [f"files/{OTHER_SESSION}/{other.id}"]
    await store.save(STRANGER, SESSION, "new", pieces(b"x"))


async def test_parts_of_a_file_can_be_read(store: FileStore) -> None:
    """For downloads that go on where they stopped."""
    ref = await store.save(OWNER, SESSION, "x", pieces(b"0123456789"))
    stored = await store.find(OWNER, SESSION, ref.id)
    assert stored is not None
    assert b"".join([chunk async for chunk in store.read(stored, 3, 4)]) == b"3456"


async def test_reading_may_stop_anywhere(store: FileStore) -> None:
    """A client that goes away half-way costs nothing later."""
    ref = await store.save(OWNER, SESSION, "x", pieces(b"x" * MIB))
    stored = await store.find(OWNER, SESSION, ref.id)
    assert stored is not None
    for _ in range(50):  # more often than there are connections
        chunks = store.read(stored)
        await anext(chunks)
        await chunks.aclose()


async def test_a_file_is_not_listed_before_it_is_whole(store: FileStore) -> None:
    """Others see nothing of what is being written."""
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def halting() -> AsyncIterator[bytes]:
        yield b"first"
        waiting.set()
        await go_on.wait()
        yield b"second"

    saving = asyncio.create_task(store.save(OWNER, SESSION, "x", halting()))
    await waiting.wait()
    assert await _names(store) == []
    go_on.set()
    ref = await saving
    assert await _names(store) == ["x"]
    assert await bytes_of(store, SESSION, ref.id) == b"firstsecond"


@pytest.mark.parametrize("before", [b"a", b"z" * (9 * MIB)], ids=["at once", "after a part"])
async def test_a_cancelled_upload_leaves_nothing(
    store: FileStore, objects: ObjectStore, redis: RedisClient, redis_prefix: str, before: bytes
) -> None:
    """No bytes, no record, no place held."""
    waiting = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield before
        waiting.set()
        await asyncio.Event().wait()

    saving = asyncio.create_task(store.save(OWNER, SESSION, "x", endless()))
    await waiting.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert await left_behind(objects) == []
    assert await redis.keys(f"{redis_prefix}millrace:files:*") == []


async def test_an_upload_cancelled_at_any_moment_leaves_nothing_or_a_whole_file(
    store: FileStore, objects: ObjectStore, sweep: FileSweep
) -> None:
    """Wherever the cancellation strikes; a file that is whole by then is listed or gone, never half."""
    for rounds in range(60):
        saving = asyncio.create_task(store.save(OWNER, SESSION, "x", pieces(b"a", b"b")))
        for _ in range(rounds):
            await asyncio.sleep(0)
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
    listed = {f"files/{SESSION}/{stored.ref.id}" for stored in await store.listing(OWNER, SESSION)}

    async def is_swept() -> bool:
        await sweep.once()
        return set(await left_behind(objects)) == listed

    if isinstance(
        objects, S3Objects
    ):  # a request that S3 has already cannot be called back, and may come late
        await eventually(is_swept)
    assert set(await left_behind(objects)) == listed


async def test_a_source_that_fails_leaves_nothing_and_is_closed(
    store: FileStore, objects: ObjectStore
) -> None:
    """As when a client hangs up half-way."""
    closed = []

    async def broken() -> AsyncIterator[bytes]:
        try:
            yield b"half"
            raise ConnectionResetError("hung up")
        finally:
            closed.append(True)

    with pytest.raises(ConnectionResetError, match="hung up"):
        await store.save(OWNER, SESSION, "x", broken())
    assert closed == [True]
    assert await left_behind(objects) == []
    assert await _names(store) == []


async def test_a_session_that_ends_while_a_file_is_written_does_not_come_back(
    store: FileStore, objects: ObjectStore
) -> None:
    """The upload fails, clearly, and its bytes go."""

    async def content() -> AsyncIterator[bytes]:
        yield b"x"
        await store.delete_session(OWNER, SESSION)

    with pytest.raises(Unavailable, match="session ended"):
        await store.save(OWNER, SESSION, "x", content())
    assert await _names(store) == []
    await _swept(store, objects)


async def _swept(store: FileStore, objects: ObjectStore) -> None:
    """Whatever lies there now is condemned: a sweep may take it."""
    for key in await left_behind(objects):
        _, session, file_id = key.split("/")
        assert await store.records.condemn(SessionId(session), [FileId(file_id)])


Use = Callable[[FileStore, FileRef], Awaitable[object]]


@pytest.mark.parametrize(
    "use",
    [
        lambda store, ref: store.find(OWNER, SESSION, ref.id),
        lambda store, _: store.listing(OWNER, SESSION),
        lambda store, _: store.save(OWNER, SESSION, "b", pieces(b"x")),
    ],
    ids=["finding", "listing", "saving"],
)
async def test_every_use_keeps_the_session_for_another_ttl(
    open_store: OpenStore, redis: RedisClient, redis_prefix: str, use: Use
) -> None:
    """All its keys together; a stranger's look does not."""
    ref = await open_store(ttl_s=50).save(OWNER, SESSION, "a", pieces(b"x"))
    again = open_store(ttl_s=5000)
    keys = await redis.keys(f"{redis_prefix}millrace:files:*")
    await again.listing(STRANGER, SESSION)
    assert all([0 < await redis.ttl(key) <= 50 for key in keys])
    await use(again, ref)
    assert len(keys) == 3
    assert all([await redis.ttl(key) > 4000 for key in keys])
