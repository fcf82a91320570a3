"""Dead letters are listed, read, dropped, and get another life only where that keeps the promise."""

from datetime import UTC, datetime
from typing import Any

import pytest

from infra.errors import RequestRefused
from schemas.wire import encode
from streams.dead_letters import requeue
from streams.protocol import Delivery
from tests.streams.conftest import PATIENT, World
from tests.streams.helpers import (
    command,
    consuming,
    finished,
    lease_of,
    run_to_the_end,
    submit,
    take,
    taking,
    types,
    whole_log,
)


async def buried(transport: Any, body: bytes, reason: str = "poison", entry: str = "7-0") -> str:
    """Make a dead letter of a request that was never begun; return the letter's id."""
    delivery = Delivery(entry, "millrace:requests", body, 1, datetime.now(UTC))
    await transport.bury(delivery, reason)
    return str((await transport.dead_letters())[-1].id)


@pytest.mark.everywhere
async def test_letters_are_listed_oldest_first_a_page_at_a_time(world: World) -> None:
    """Each with its reason, where it came from, and what it was."""
    transport: Any = await world.transport()
    for number in range(5):
        await buried(transport, f"body {number}".encode(), f"reason {number}", f"{number}-0")
    first = await transport.dead_letters(count=2)
    rest = await transport.dead_letters(after=first[-1].id)
    letters = [kept.letter for kept in first + rest]
    assert [letter.reason for letter in letters] == [f"reason {number}" for number in range(5)]
    assert [letter.data for letter in letters] == [f"body {number}".encode() for number in range(5)]
    assert [(letter.stream, letter.entry) for letter in letters][3] == ("millrace:requests", "3-0")
    assert all(letter.time.tzinfo for letter in letters)
    assert await transport.dead_letter(rest[0].id) == rest[0]


async def test_a_letter_that_was_dropped_is_gone_and_the_others_stay(world: World) -> None:
    """Dropping what is not there says so."""
    transport: Any = await world.transport()
    one, two = [await buried(transport, body) for body in (b"one", b"two")]
    assert await transport.drop_dead_letter(one)
    assert not await transport.drop_dead_letter(one)
    assert await transport.dead_letter(one) is None
    assert [kept.id for kept in await transport.dead_letters()] == [two]
    assert not await transport.drop_dead_letter("no id at all")
    assert await transport.dead_letter("no id at all") is None


@pytest.mark.everywhere
async def test_a_request_nobody_knows_any_more_gets_another_life(world: World) -> None:
    """It runs, and its letter is gone."""
    transport: Any = await world.transport()
    letter = await buried(transport, encode(command("job-1")))
    assert await requeue(transport, letter) == "job-1"
    assert await transport.dead_letters() == []
    async with consuming(transport, lambda delivery: run_to_the_end(transport, delivery)):
        assert types(await whole_log(transport, "job-1")) == ["queued", "started", "finished"]


async def test_an_execution_that_has_ended_runs_again_only_under_another_id(world: World) -> None:
    """There is one `finished` to each id, for ever."""
    transport: Any = await world.transport()
    await submit(transport, command("job-1"))
    lease = await lease_of(transport, await take(transport))
    await transport.bury(lease.delivery, "too many attempts", acknowledge=False)
    await transport.finish(lease, [], finished(lease.execution_id, "lost"))
    [kept] = await transport.dead_letters()
    with pytest.raises(RequestRefused, match="'job-1' has ended"):
        await requeue(transport, kept.id)
    assert await transport.dead_letters() == [kept]
    assert await requeue(transport, kept.id, "job-2") == "job-2"
    assert await transport.dead_letters() == []
    async with consuming(transport, lambda delivery: run_to_the_end(transport, delivery)):
        assert types(await whole_log(transport, "job-2")) == ["queued", "started", "finished"]
    assert types(await whole_log(transport, "job-1")) == ["queued", "finished"]


async def test_an_execution_that_still_has_a_life_needs_no_other(world: World) -> None:
    """It was buried by one who died before he ended it."""
    transport: Any = await world.transport()
    await submit(transport, command("job-1"))
    async with taking(transport) as deliveries:
        await transport.bury(await deliveries.get(), "too many attempts", acknowledge=False)
    [kept] = await transport.dead_letters()
    with pytest.raises(RequestRefused, match="still queued"):
        await requeue(transport, kept.id)


async def test_the_id_of_another_body_is_not_taken_over(world: World) -> None:
    """A new id must be new."""
    transport: Any = await world.transport()
    await submit(transport, command("job-2", code="print('another')"))
    letter = await buried(transport, encode(command("job-1")))
    with pytest.raises(RequestRefused, match="'job-2' was used before"):
        await requeue(transport, letter, "job-2")
    assert len(await transport.dead_letters()) == 1


@pytest.mark.parametrize(
    ("body", "new_id", "says"),
    [
        (b"{", None, "not valid JSON"),
        (b'{"language": 3, "code": ""}', None, "language"),
        (b'{"language": "py", "code": "", "id": "no good!"}', None, "give one"),
        (b'{"language": "py", "code": ""}', "no good!", "1 to 128"),
    ],
)
async def test_what_would_be_dead_again_is_refused_with_the_reason(
    body: bytes, new_id: str | None, says: str
) -> None:
    """The letter stays for whoever mends it."""
    from streams.memory import MemoryBroker, MemoryTransport

    transport = MemoryTransport(MemoryBroker(), PATIENT)
    letter = await buried(transport, body)
    with pytest.raises(RequestRefused, match=says):
        await requeue(transport, letter, new_id)
    assert len(await transport.dead_letters()) == 1
    with pytest.raises(RequestRefused, match="no dead letter '99'"):
        await requeue(transport, "99")


async def test_a_request_without_an_id_keeps_the_one_of_its_entry(world: World) -> None:
    """So it cannot have a second life by coming without a name."""
    transport: Any = await world.transport()
    letter = await buried(transport, b'{"language": "py", "code": "print(1)"}', entry="5-3")
    assert await requeue(transport, letter) == "entry-5-3"
