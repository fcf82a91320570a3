"""Millrace's own routes: submit, look, wait, say something."""

import asyncio
from typing import Any

import pytest

from edge.tool_results import calls_asked
from infra.errors import RequestRefused
from schemas.events import ToolCall
from schemas.wire import encode

RUN = {"language": "py", "code": "x"}


async def finished(house: Any, execution_id: str) -> Any:
    """Wait for an execution as a client would, and return its view."""
    answer = await house.client.get(f"/executions/{execution_id}", headers={"prefer": "wait=10"})
    assert answer.json()["status"] == "finished"
    return answer.json()


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_submitting_answers_at_once_and_says_where_to_look(house: Any, prefix: str) -> None:
    """202 with Location; links keep the prefix the client used."""
    answer = await house.client.post(f"{prefix}/executions", json={**RUN, "id": "job-1"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{prefix}/executions/job-1"
    assert answer.json()["id"] == "job-1"
    assert answer.json()["status"] == "queued"
    assert answer.json()["links"]["events"] == f"{prefix}/executions/job-1/events"
    assert (await house.client.get(answer.headers["location"])).status_code == 200


async def test_an_execution_without_an_id_is_given_one(house: Any) -> None:
    """And it can be found under it."""
    execution_id = (await house.client.post("/executions", json=RUN)).json()["id"]
    assert (await finished(house, execution_id))["id"] == execution_id


async def test_waiting_answers_with_the_finished_execution(house: Any) -> None:
    """`Prefer: wait=N`, with everything `finished` says laid flat."""
    answer = await house.client.post("/executions", json=RUN, headers={"prefer": "respond-async, wait=10"})
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=10"
    view = answer.json()
    assert (view["status"], view["outcome"], view["stdout"], view["exit_code"]) == (
        "finished",
        "exited",
        "hello\n",
        0,
    )
    assert view["created_at"] <= view["started_at"] <= view["finished_at"]
    assert {"usage", "output", "files", "deleted_files", "state", "attempt", "session_id"} <= set(view)


async def test_waiting_that_was_in_vain_answers_202(house: Any, scripts: Any) -> None:
    """With where to look; a second wait goes on waiting, and shows what there is so far."""
    house.handler.scripts["slow"] = scripts["until_cancelled"]
    headers = {"prefer": "wait=0"}
    body = {**RUN, "code": "slow", "id": "slow-1"}
    answer = await house.client.post("/executions", json=body, headers=headers)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=0"
    waiting = asyncio.create_task(finished(house, "slow-1"))
    await house.handler.spoke.wait()
    running = (await house.client.get("/executions/slow-1")).json()
    assert (running["status"], running["stdout"], running["outcome"]) == ("running", "working\n", None)
    assert (await house.client.delete("/executions/slow-1")).status_code == 202
    assert (await waiting)["outcome"] == "cancelled"


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait", "", "wait=1e9", "handling=lenient"])
async def test_a_preference_that_cannot_be_read_is_ignored(house: Any, prefer: str) -> None:
    """As RFC 7240 wants it."""
    answer = await house.client.post("/executions", json=RUN, headers={"prefer": prefer})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_waiting_is_granted_up_to_the_operators_bound(make_house: Any) -> None:
    """Not for as long as a client likes."""
    house = await make_house(sync_wait_s_max=60)
    answer = await house.client.post("/executions", json=RUN, headers={"prefer": "wait=999999999"})
    assert answer.headers["preference-applied"] == "wait=60"


@pytest.mark.parametrize("key", ["job-7", '"job-7"'])
async def test_an_idempotency_key_stands_for_the_id(house: Any, key: str) -> None:
    """Bare or quoted; the same request twice is one execution."""
    for _ in range(2):
        answer = await house.client.post("/executions", json=RUN, headers={"idempotency-key": key})
        assert (answer.status_code, answer.json()["id"]) == (202, "job-7")
    await finished(house, "job-7")
    assert len(house.handler.seen) == 1


async def test_the_same_id_with_the_same_body_joins_and_with_another_is_refused(house: Any) -> None:
    """An alias of the language is the same body; trace context is no part of it."""
    first = await house.client.post("/executions", json={**RUN, "id": "a"})
    await finished(house, "a")
    traced = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    again = {**RUN, "id": "a", "language": "python"}
    joined = await house.client.post("/executions", json=again, headers=traced)
    refused = await house.client.post("/executions", json={**RUN, "id": "a", "code": "y"})
    assert (first.status_code, joined.status_code, refused.status_code) == (202, 202, 409)
    assert joined.json()["status"] == "finished"
    assert refused.json()["error"] == "id_taken"
    assert len(house.handler.seen) == 1


async def test_an_id_of_another_tenant_is_taken_without_being_shown(
    house: Any, keys: tuple[str, str]
) -> None:
    """The same body does not open somebody else's execution."""
    await house.client.post("/executions", json={**RUN, "id": "a"})
    answer = await house.client.post("/executions", json={**RUN, "id": "a"}, headers={"x-api-key": keys[1]})
    assert answer.status_code == 409
    assert set(answer.json()) == {"error", "message", "field"}


async def test_trace_context_of_the_request_travels_with_the_command(house: Any) -> None:
    """Broken context does not."""
    good = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "v=1"}
    for execution_id, headers in (("good", good), ("bad", {"traceparent": "00-xyz"})):
        await house.client.post("/executions", json={**RUN, "id": execution_id}, headers=headers)
        await finished(house, execution_id)
    assert {command.id: command.trace for command in house.handler.seen} == {"good": good, "bad": {}}


@pytest.mark.parametrize("path", ["nobodys", "a%20b", "%00", "x" * 200, "..%2f.."])
async def test_unknown_and_impossible_ids_are_404(house: Any, path: str) -> None:
    """Whatever they are made of."""
    assert (await house.client.get(f"/executions/{path}")).status_code == 404


async def test_input_reaches_the_program_that_runs(house: Any) -> None:
    """In order, with its encoding and end; 202 says told, not done."""

    async def echo(act: Any) -> None:
        await act.start()
        while True:
            told = await act.controls.get()
            await act.say(f"{told.data}|{told.encoding}|{told.eof};")
            if told.eof:
                await act.finish()
                return

    house.handler.scripts["echo"] = echo
    await house.client.post("/executions", json={**RUN, "code": "echo", "id": "e"})
    for body in ({"data": "one\n"}, {"data": "AAE=", "encoding": "base64"}, {"eof": True}):
        assert (await house.client.post("/executions/e/input", json=body)).status_code == 202
    assert (await finished(house, "e"))["stdout"] == "one\n|None|False;AAE=|base64|False;|None|True;"


async def call_two(act: Any) -> None:
    """Call two tools in two events and write down what comes of it."""
    await act.start()
    for call in ("1", "2"):
        await act.call(ToolCall(id=call, name="look", input={"at": call}))
    told = await act.controls.get()
    await act.say(str([(result.call_id, result.result, result.is_error) for result in told.results]))
    await act.finish()


async def test_tool_results_reach_the_program_that_waits(house: Any) -> None:
    """Values of any JSON type; the same ones again are accepted and reach nobody twice."""
    house.handler.scripts["ask"] = call_two
    await house.client.post("/executions", json={**RUN, "code": "ask", "id": "t"})
    await asked(house, "t", 2)
    results = [{"call_id": "1", "result": {"a": [1]}}, {"call_id": "2", "is_error": True}]
    answer = await house.client.post("/executions/t/tool-results", json={"results": results})
    assert answer.status_code == 202
    assert (await finished(house, "t"))["stdout"] == "[('1', {'a': [1]}, False), ('2', None, True)]"


async def test_a_tool_result_counts_once(house: Any) -> None:
    """The same again is accepted; another one for the same call, or one for no call, is not."""

    async def ask(act: Any) -> None:
        await act.start()
        await act.call(ToolCall(id="1", name="look", input={}))
        await asyncio.sleep(60)

    house.handler.scripts["ask"] = ask
    await house.client.post("/executions", json={**RUN, "code": "ask", "id": "t"})
    await asked(house, "t", 1)
    expected = [({"result": 1}, 202), ({"result": 1}, 202), ({"result": 2}, 409), ({"is_error": True}, 409)]
    for result, status in expected:
        body = {"results": [{"call_id": "1", **result}]}
        assert (await house.client.post("/executions/t/tool-results", json=body)).status_code == status
    stray = await house.client.post("/executions/t/tool-results", json={"results": [{"call_id": "x"}]})
    assert (stray.status_code, stray.json()["field"]) == (400, "results[0].call_id")
    large = {"results": [{"call_id": "1", "result": "x" * (5 * 1024 * 1024)}]}
    refused = await house.client.post("/executions/t/tool-results", json=large)
    assert (refused.status_code, refused.json()["field"]) == (413, "results[0].result")


async def test_results_that_the_broker_does_not_take_can_be_sent_smaller(make_house: Any) -> None:
    """Several travel in as many messages as need be; one too large for any is refused and not counted."""

    class Narrow:
        """A broker with a limit on messages."""

        def __init__(self, transport: Any) -> None:
            self._transport = transport

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

        async def send(self, command: Any) -> None:
            if len(encode(command)) > 1_000_000:
                raise RequestRefused("That is more than the broker takes in one message.", limit=1_000_000)
            await self._transport.send(command)

    async def ask(act: Any) -> None:
        await act.start()
        await act.call(*(ToolCall(id=number, name="look", input={}) for number in "123"))
        known: set[str] = set()
        while len(known) < 3:
            told = await act.controls.get()
            known |= {result.call_id for result in told.results}
        await act.finish()

    house = await make_house()
    house.handler.scripts["ask"] = ask
    narrow = await make_house(publisher=Narrow(house.transport), handled=False)
    await narrow.client.post("/executions", json={**RUN, "code": "ask", "id": "t"})
    await asked(house, "t", 3)
    several = [{"call_id": number, "result": "x" * 400_000} for number in "12"]
    for results, status in (
        ([*several, {"call_id": "3", "result": "x" * 1_100_000}], 422),
        ([*several, {"call_id": "3", "result": "smaller"}], 202),
    ):
        answer = await narrow.client.post("/executions/t/tool-results", json={"results": results})
        assert answer.status_code == status, answer.text
    assert (await finished(house, "t"))["outcome"] == "exited"


async def asked(house: Any, execution_id: str, calls: int) -> None:
    """Wait until so many tool calls are in the log."""
    async with asyncio.timeout(20):
        while len(await calls_asked(house.transport, execution_id)) < calls:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/executions/done", None),
        ("POST", "/executions/done/input", {"data": "x"}),
        ("POST", "/executions/done/tool-results", {"results": [{"call_id": "1"}]}),
    ],
)
async def test_nothing_can_be_said_to_what_has_finished(
    house: Any, method: str, path: str, body: Any
) -> None:
    """409, with how it ended."""
    await house.client.post("/executions", json={**RUN, "id": "done"})
    await finished(house, "done")
    answer = await house.client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["outcome"]) == (409, "exited")


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("input", {"data": "%%%", "encoding": "base64"}, 422, "data"),
        ("input", {"data": "é", "encoding": "base64"}, 422, "data"),
        ("input", {"data": 7}, 422, "data"),
        ("input", {"data": "x", "encoding": "hex"}, 422, "encoding"),
        ("input", {"data": "x" * 11}, 413, "data"),
        ("input", {"data": "x", "eof": "yes"}, 422, "eof"),
        ("input", [], 400, None),
        ("input", {}, 422, "data"),
        ("input", {"dada": "x"}, 422, "data"),
        ("tool-results", {}, 422, "results"),
        ("tool-results", {"results": []}, 422, "results"),
        ("tool-results", {"results": [{}]}, 422, "results[0]"),
        ("tool-results", {"results": [{"call_id": "1"}] * 2}, 422, "results"),
        ("tool-results", {"results": [{"call_id": str(n)} for n in range(201)]}, 422, "results"),
    ],
)
async def test_what_is_said_to_an_execution_is_checked(
    make_house: Any, scripts: Any, path: str, body: Any, status: int, field: str | None
) -> None:
    """And nothing of it is published when it is wrong."""
    from schemas.validate import Bounds

    house = await make_house(bounds=Bounds(stdin_bytes_max=10))
    house.handler.scripts["slow"] = scripts["until_cancelled"]
    await house.client.post("/executions", json={**RUN, "code": "slow", "id": "s"})
    answer = await house.client.post(f"/executions/s/{path}", json=body)
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert not house.handler.heard
