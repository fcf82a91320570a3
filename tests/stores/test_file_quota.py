"""How much a session may hold, however many save at once, and what is said when it is too much."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.stores.file_quota import FileQuota, QuotaExceeded
from infra.stores.objects import ObjectStore
from schemas.files import FileRef
from tests.stores.conftest import MIB, OWNER, SESSION, OpenStore, left_behind, pieces


@pytest.mark.everywhere
async def test_twenty_concurrent_saves_against_a_quota_of_ten(open_store: OpenStore) -> None:
    """Exactly ten are kept, however many processes save."""
    stores = [open_store(FileQuota(files_max=10, file_bytes_max=MIB, session_bytes_max=MIB)) for _ in "ab"]

    async def save(number: int) -> FileRef:
        return await stores[number % 2].save(OWNER, SESSION, f"{number}", pieces(b"x" * 100))

    answers = await asyncio.gather(*map(save, range(20)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, QuotaExceeded)]
    assert [sum(isinstance(answer, FileRef) for answer in answers), len(refused)] == [10, 10]
    assert {(error.broken, error.limit) for error in refused} == {("files_max", 10)}
    assert len(await stores[0].listing(OWNER, SESSION)) == 10


async def test_the_bytes_of_a_session_are_bounded_also_when_saved_at_once(open_store: OpenStore) -> None:
    """No two writers can both take the last room."""
    store = open_store(FileQuota(files_max=50, file_bytes_max=1000, session_bytes_max=2500))
    saves = (store.save(OWNER, SESSION, f"{number}", pieces(b"x" * 600)) for number in range(8))
    answers = await asyncio.gather(*saves, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, QuotaExceeded)]
    assert len(refused) == 4
    assert {(error.broken, error.limit) for error in refused} == {("session_bytes_max", 2500)}


async def test_a_file_too_long_is_stopped_on_its_way(open_store: OpenStore, objects: ObjectStore) -> None:
    """Not first stored and then refused; the limit is named."""
    store = open_store(FileQuota(files_max=5, file_bytes_max=2 * MIB, session_bytes_max=9 * MIB))
    taken, closed = [], []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                taken.append(MIB)
                yield b"x" * MIB
        finally:
            closed.append(True)

    with pytest.raises(QuotaExceeded, match="at most 2 MiB long") as refused:
        await store.save(OWNER, SESSION, "x", endless())
    assert (refused.value.broken, refused.value.limit, len(taken)) == ("file_bytes_max", 2 * MIB, 3)
    assert closed == [True]  # it may hold a connection, or a file of a sandbox
    assert await left_behind(objects) == []


async def test_what_is_deleted_makes_room(open_store: OpenStore) -> None:
    """In number and in bytes; an empty file counts as a file."""
    store = open_store(FileQuota(files_max=2, file_bytes_max=100, session_bytes_max=100))
    first = await store.save(OWNER, SESSION, "a", pieces(b"x" * 100))
    empty = await store.save(OWNER, SESSION, "b", pieces())
    with pytest.raises(QuotaExceeded, match="at most 2 files"):
        await store.save(OWNER, SESSION, "c", pieces())
    await store.delete(OWNER, SESSION, empty.id)
    with pytest.raises(QuotaExceeded, match="100 bytes long together"):
        await store.save(OWNER, SESSION, "c", pieces(b"x"))
    await store.delete(OWNER, SESSION, first.id)
    await store.save(OWNER, SESSION, "d", pieces(b"x" * 100))


async def test_a_file_exactly_at_the_limit_is_kept(open_store: OpenStore) -> None:
    """A limit is what may still be."""
    store = open_store(FileQuota(files_max=1, file_bytes_max=100, session_bytes_max=100))
    assert (await store.save(OWNER, SESSION, "a", pieces(b"x" * 100))).size_bytes == 100
