"""What every place of bytes promises: whole or nothing, ranges, keys, and flat memory."""

import asyncio
import itertools
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from infra.stores.objects import ObjectMissing, ObjectStore
from tests.stores.conftest import MIB, left_behind, pieces

KEY = "files/session/file"


async def _read(objects: ObjectStore, key: str = KEY, **bounds: int) -> bytes:
    return b"".join([chunk async for chunk in objects.get(key, **bounds)])


@pytest.mark.parametrize(
    "chunks",
    [(), (b"",), (b"a",), (b"ab", b"", b"cd"), (b"x" * (8 * MIB),), (b"y" * (5 * MIB),) * 4],
    ids=["nothing", "one empty chunk", "one byte", "chunks", "just one part", "parts across chunks"],
)
async def test_what_was_put_comes_back(objects: ObjectStore, chunks: tuple[bytes, ...]) -> None:
    """Byte for byte, and the size is told."""
    assert await objects.put(KEY, pieces(*chunks)) == sum(map(len, chunks))
    assert await _read(objects) == b"".join(chunks)
    assert [(found.key, found.size_bytes) async for found in objects.listing("files/")] == [
        (KEY, sum(map(len, chunks)))
    ]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"start": 0, "length": 4}, b"0123"),
        ({"start": 3}, b"3456789"),
        ({"start": 9, "length": 1}, b"9"),
        ({"start": 8, "length": 100}, b"89"),
        ({"start": 2, "length": 0}, b""),
        ({"start": 10}, b""),
        ({"start": 99, "length": 3}, b""),
    ],
)
async def test_a_range_is_what_a_slice_would_be(
    objects: ObjectStore, bounds: dict[str, int], expected: bytes
) -> None:
    """Also beyond the end."""
    await objects.put(KEY, pieces(b"0123456789"))
    assert await _read(objects, **bounds) == expected


async def test_a_range_of_a_large_object_spans_its_parts(objects: ObjectStore) -> None:
    """Parts are a matter of writing only."""
    data = bytes(range(256)) * (40 * 1024)
    await objects.put(KEY, pieces(data))
    assert await _read(objects, start=8 * MIB - 3, length=6) == data[8 * MIB - 3 : 8 * MIB + 3]


async def test_a_missing_object_is_missing(objects: ObjectStore) -> None:
    """It is said at the first step of reading."""
    with pytest.raises(ObjectMissing):
        await _read(objects)


async def test_a_second_put_takes_the_place_of_the_first(objects: ObjectStore) -> None:
    """And deleting takes it away, once or twice."""
    await objects.put(KEY, pieces(b"old"))
    await objects.put(KEY, pieces(b"new"))
    assert await _read(objects) == b"new"
    await objects.delete(KEY)
    await objects.delete(KEY)
    assert await left_behind(objects) == []


async def test_a_listing_shows_what_lies_below_its_prefix(objects: ObjectStore) -> None:
    """Not what merely begins alike, and all of one folder together."""
    keys = ["files/a-b/1", "files/a/1", "files/a/2", "files/ab/1", "state/a/1"]
    for key in keys:
        await objects.put(key, pieces(b"x"))
    assert sorted([found.key async for found in objects.listing("files/")]) == keys[:4]
    assert [found.key async for found in objects.listing("files/a/")] == keys[1:3]
    folders = [found.key.split("/")[1] async for found in objects.listing("files/")]
    assert len(list(itertools.groupby(folders))) == 3
    assert [found async for found in objects.listing("nothing/")] == []


@pytest.mark.parametrize("before", [b"", b"z" * (9 * MIB)], ids=["at once", "after a part"])
async def test_a_source_that_fails_leaves_things_as_they_were(objects: ObjectStore, before: bytes) -> None:
    """Its own error comes out, not one of ours."""

    async def broken() -> AsyncIterator[bytes]:
        yield before
        raise TimeoutError("the client went away")

    await objects.put(KEY, pieces(b"old"))
    with pytest.raises(TimeoutError, match="the client went away"):
        await objects.put(KEY, broken())
    assert await _read(objects) == b"old"
    assert await left_behind(objects) == [KEY]


@pytest.mark.parametrize("before", [b"a", b"z" * (9 * MIB)], ids=["at once", "after a part"])
async def test_a_cancelled_put_leaves_nothing(objects: ObjectStore, before: bytes) -> None:
    """Neither an object nor parts of one."""
    waiting = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield before
        waiting.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(objects.put(KEY, endless()))
    await waiting.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await left_behind(objects) == []


async def test_a_write_under_way_is_seen_and_can_be_discarded(objects: ObjectStore) -> None:
    """Its writer then fails, and nothing appears."""
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def halting() -> AsyncIterator[bytes]:
        yield b"z" * (9 * MIB)
        waiting.set()
        await go_on.wait()

    putting = asyncio.create_task(objects.put(KEY, halting()))
    await waiting.wait()
    (write,) = [found async for found in objects.unfinished("files/")]
    assert write.key == KEY
    assert [found async for found in objects.unfinished("state/")] == []
    await objects.discard(write)
    await objects.discard(write)
    go_on.set()
    with pytest.raises(Exception, match=r"removed|could not"):
        await putting
    assert await left_behind(objects) == []


async def test_writers_of_one_key_do_not_mix(objects: ObjectStore) -> None:
    """One of them wins with all of its bytes."""
    written = [bytes([letter]) * (MIB // 2) for letter in b"abcdef"]
    await asyncio.gather(*(objects.put(KEY, pieces(*([data] * 2))) for data in written))
    assert await _read(objects) in [data * 2 for data in written]


async def test_fifty_megabytes_pass_in_flat_memory(objects: ObjectStore) -> None:
    """Both ways: a part or two, never the file."""

    async def long() -> AsyncIterator[bytes]:
        for number in range(50):
            yield bytes([number]) * MIB

    await objects.put("files/session/warm", pieces(b"connections and caches"))
    tracemalloc.start()
    try:
        await objects.put(KEY, long())
        peak_writing = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        size = sum([len(chunk) async for chunk in objects.get(KEY)])
        peak_reading = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 50 * MIB
    assert peak_writing < 30 * MIB
    assert peak_reading < 8 * MIB


@pytest.mark.parametrize("key", ["file", "../file", "a//b", "a/b/", "a/.b", "a/b c", "a/" + "b" * 200])
async def test_what_is_no_key_is_our_own_mistake(objects: ObjectStore, key: str) -> None:
    """Keys are made of ids that were checked before."""
    with pytest.raises(AssertionError):
        await objects.put(key, pieces(b"x"))
    with pytest.raises(AssertionError):
        await _read(objects, key)


async def test_a_check_passes_where_things_are_well(objects: ObjectStore) -> None:
    """And leaves nothing."""
    await objects.check()
    assert await left_behind(objects) == []
