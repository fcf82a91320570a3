"""Events as a stream: from any place, in either form, every event once."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

RUN = {"language": "py", "code": "x"}
TYPES = ["queued", "started", "output", "finished"]


@dataclass
class Sse:
    """One message of a stream, as an EventSource reads it."""

    id: int
    event: str
    data: dict[str, Any]


def parse(text: str) -> list[Sse]:
    """Read a whole stream; comments are skipped."""
    messages = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if fields:
            messages.append(Sse(int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return messages


async def submit(house: Any, execution_id: str, code: str = "x") -> None:
    body = {"language": "py", "code": code, "id": execution_id}
    assert (await house.client.post("/executions", json=body)).status_code == 202


async def ended(house: Any, execution_id: str) -> None:
    await house.client.get(f"/executions/{execution_id}", headers={"prefer": "wait=10"})


async def test_a_stream_tells_every_event_with_type_seq_and_body(house: Any) -> None:
    """And ends after `finished`."""
    await submit(house, "e")
    answer = await house.client.get("/executions/e/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    told = parse(answer.text)
    assert [message.event for message in told] == [message.data["type"] for message in told] == TYPES
    assert [message.id for message in told] == [message.data["seq"] for message in told] == [1, 2, 3, 4]


async def test_the_same_is_there_as_lines_of_json(house: Any) -> None:
    """For programs that read lines."""
    await submit(house, "e")
    answer = await house.client.get("/executions/e/events", headers={"accept": "application/x-ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["type"] for line in answer.text.splitlines()] == TYPES


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_submitting_can_stream_from_the_first_event(house: Any, accept: str) -> None:
    """One request for all, with Location for whoever loses the connection."""
    body = {**RUN, "id": "e"}
    answer = await house.client.post("/executions", json=body, headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["location"] == "/executions/e"
    assert [answer.text.count(f'"type":"{name}"') for name in TYPES] == [1, 1, 1, 1]


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("form", ["header", "query"])
async def test_reading_goes_on_from_any_place(house: Any, after: int, form: str) -> None:
    """By Last-Event-ID or ?after=."""
    await submit(house, "e")
    await ended(house, "e")
    headers = {"last-event-id": str(after)} if form == "header" else {}
    params = {"after": after} if form == "query" else {}
    answer = await house.client.get("/executions/e/events", headers=headers, params=params)
    assert [message.id for message in parse(answer.text)] == list(range(after + 1, 5))


async def test_last_event_id_wins_over_the_address(house: Any) -> None:
    """An EventSource that reconnects asks the old address again, with the new header."""
    await submit(house, "e")
    answer = await house.client.get("/executions/e/events?after=1", headers={"last-event-id": "3"})
    assert [message.id for message in parse(answer.text)] == [4]


@pytest.mark.parametrize("after", [4, 5, 2**53 - 1])
async def test_who_has_everything_is_told_to_stay_away(house: Any, after: int) -> None:
    """204 is what stops an EventSource from connecting again and again."""
    await submit(house, "e")
    await ended(house, "e")
    answer = await house.client.get("/executions/e/events", headers={"last-event-id": str(after)})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    "value", ["x", "-1", "1.5", "1e3", "99999999999999999999", "\u0664", "0x1", " ", "1 2"]
)
async def test_a_place_that_is_no_number_is_refused(house: Any, value: str) -> None:
    """By name."""
    await submit(house, "e")
    in_query = await house.client.get("/executions/e/events", params={"after": value})
    in_header = await house.client.get("/executions/e/events", headers={"last-event-id": value.encode()})
    assert (in_query.status_code, in_query.json()["field"]) == (422, "after")
    if value.strip():  # HTTP itself strips blank values
        assert (in_header.status_code, in_header.json()["field"]) == (422, "Last-Event-ID")


async def test_any_number_of_readers_see_the_same_before_during_and_after(house: Any) -> None:
    """Early ones wait for what comes, late ones replay."""
    go_on = asyncio.Event()

    async def paused(act: Any) -> None:
        await act.start()
        await act.say("one")
        await go_on.wait()
        await act.say("two")
        await act.finish()

    house.handler.scripts["paused"] = paused
    await submit(house, "p", "paused")
    early = [asyncio.create_task(house.client.get("/executions/p/events")) for _ in range(5)]
    await house.handler.spoke.wait()
    middle = asyncio.create_task(house.client.get("/executions/p/events", headers={"last-event-id": "3"}))
    await asyncio.sleep(0)
    go_on.set()
    answers = [parse((await reader).text) for reader in early]
    answers.append(parse((await house.client.get("/executions/p/events")).text))
    assert all([message.id for message in told] == [1, 2, 3, 4, 5] for told in answers)
    assert [message.id for message in parse((await middle).text)] == [4, 5]


async def lines_of(answer: httpx.Response) -> Any:
    """Yield the messages of a live stream one by one."""
    block = ""
    async for line in answer.aiter_lines():
        block += line + "\n"
        if line == "":
            for message in parse(block):
                yield message
            block = ""


async def test_a_reader_that_reconnects_after_every_event_gets_each_exactly_once(make_house: Any) -> None:
    """Over a real connection that it cuts each time."""
    house = await make_house(served=True)

    async def chatter(act: Any) -> None:
        await act.start()
        for number in range(30):
            await act.say(f"{number},")
            await asyncio.sleep(0)
        await act.finish()

    house.handler.scripts["chatter"] = chatter
    await submit(house, "c", "chatter")
    seen: list[Sse] = []
    while not seen or seen[-1].event != "finished":
        headers = {"last-event-id": str(seen[-1].id)} if seen else {}
        async with house.client.stream("GET", "/executions/c/events", headers=headers) as answer:
            assert answer.status_code == 200
            async for message in lines_of(answer):
                seen.append(message)
                break
    assert [message.id for message in seen] == list(range(1, 34))
    assert "".join(m.data["data"] for m in seen if m.event == "output") == "".join(f"{n}," for n in range(30))


async def test_events_arrive_while_the_program_runs(make_house: Any) -> None:
    """The reader has the first line before the second is written."""
    house = await make_house(served=True)
    go_on = asyncio.Event()

    async def paused(act: Any) -> None:
        await act.start()
        await act.say("one")
        await go_on.wait()
        await act.finish()

    house.handler.scripts["paused"] = paused
    await submit(house, "p", "paused")
    seen = []
    async with house.client.stream("GET", "/executions/p/events") as answer:
        async for message in lines_of(answer):
            seen.append(message.event)
            if message.event == "output":
                go_on.set()
    assert seen == TYPES


async def test_a_silent_stream_shows_that_it_lives(make_house: Any, scripts: Any) -> None:
    """By comments, and no event is lost around them."""
    house = await make_house(comment_every_s=0.01)

    async def pause(act: Any) -> None:
        await act.start()
        await asyncio.sleep(0.1)  # this is the silence
        await act.say("late")
        await act.finish()

    house.handler.scripts["pause"] = pause
    body = {"language": "py", "code": "pause", "id": "q"}
    text = (await house.client.post("/executions", json=body, headers={"accept": "text/event-stream"})).text
    assert ": still here\n\n" in text
    assert [message.event for message in parse(text)] == TYPES


async def test_lines_of_json_carry_no_comments(make_house: Any) -> None:
    """JSON has none."""
    house = await make_house(comment_every_s=0.001)

    async def pause(act: Any) -> None:
        await act.start()
        await asyncio.sleep(0.02)
        await act.finish()

    house.handler.scripts["pause"] = pause
    body = {"language": "py", "code": "pause"}
    answer = await house.client.post("/executions", json=body, headers={"accept": "application/x-ndjson"})
    assert [json.loads(line)["type"] for line in answer.text.splitlines()] == [
        "queued",
        "started",
        "finished",
    ]


async def test_a_log_that_expires_under_its_reader_ends_the_stream(house: Any, scripts: Any) -> None:
    """Cleanly; who asks again learns that it is gone."""
    house.handler.scripts["slow"] = scripts["until_cancelled"]
    await submit(house, "s", "slow")
    reading = asyncio.create_task(house.client.get("/executions/s/events"))
    await house.handler.spoke.wait()
    house.broker.flush()
    told = parse((await reading).text)
    assert (told[0].event, "finished" in [message.event for message in told]) == ("queued", False)
    assert (await house.client.get("/executions/s/events")).status_code == 404
