"""`POST /exec/programmatic`: a dialogue in which any edge may answer, and all that can be wrong in it."""

import asyncio
from typing import Any

import pytest

from schemas.commands import CancelExecution, ResolveToolCalls
from schemas.events import ToolCall
from schemas.ids import CallId

TOOLS = [{"name": "get-weather", "parameters": {"type": "object"}, "allowed_callers": ["x"]}, {"name": "b"}]
FIRST = {"code": "two", "tools": TOOLS, "timeout": 60_000}


def call(number: int, name: str = "b") -> ToolCall:
    return ToolCall(id=CallId(f"call_{number}"), name=name, input={"n": number})


async def answers(act: Any, of: str) -> str:
    """Wait for the results of that call and those that come with it."""
    while True:
        told = await act.controls.get()
        assert isinstance(told, ResolveToolCalls)
        if of in [result.call_id for result in told.results]:
            return ",".join(str(result.error_message or result.result) for result in told.results)


async def two_rounds(act: Any) -> None:
    """Call two tools at once, then a third."""
    await act.start()
    await act.say("begin\n")
    await act.call(call(1, "get-weather"))
    await act.call(call(2))
    await act.say(f"first {await answers(act, 'call_1')}\n")
    await act.call(call(3))
    await act.say(f"then {await answers(act, 'call_3')}\n")
    await act.say("careful\n", "stderr")
    await act.finish()


async def one_call(act: Any) -> None:
    await act.start()
    await act.call(call(1))
    await act.say(await answers(act, "call_1"))
    await act.finish()


@pytest.fixture
async def talk(make_house: Any) -> Any:
    """A house whose programs call tools."""
    house = await make_house()
    house.handler.scripts |= {"two": two_rounds, "one": one_call}

    async def post(body: dict[str, Any], **headers: str) -> Any:
        return await house.client.post("/v1/exec/programmatic", json=body, headers=headers)

    house.post = post
    return house


def results(answer: dict[str, Any], **result: Any) -> dict[str, Any]:
    """The continuation of an answer with one result for every call."""
    given = [
        {"call_id": each["id"], "result": each["input"]["n"], "is_error": False, **result}
        for each in answer["tool_calls"]
    ]
    return {"continuation_token": answer["continuation_token"], "tool_results": given}


async def test_a_dialogue_from_the_first_request_to_the_end(talk: Any) -> None:
    """Calls that were made apart are told together; the last answer has the whole output once."""
    first = (await talk.post(FIRST)).json()
    assert first["status"] == "tool_call_required"
    assert first["tool_calls"] == [
        {"id": "call_1", "name": "get-weather", "input": {"n": 1}},
        {"id": "call_2", "name": "b", "input": {"n": 2}},
    ]
    assert len(first["session_id"]) == 21
    assert first["partial_stdout"] == "begin\n"
    second = (await talk.post(results(first))).json()
    assert [each["id"] for each in second["tool_calls"]] == ["call_3"]
    last = await talk.post(results(second, result=None, is_error=True, error_message="no such"))
    assert last.status_code == 200
    assert last.json() == {
        "status": "completed",
        "session_id": first["session_id"],
        "stdout": "begin\nfirst 1,2\nthen no such\n",
        "stderr": "careful\n",
        "files": [],
    }


async def test_the_same_continuation_again_gets_the_same_answer(talk: Any) -> None:
    """Also after the program went on, and after its end; nothing reaches the program twice."""
    first = (await talk.post(FIRST)).json()
    second = (await talk.post(results(first))).json()
    again = (await talk.post(results(first))).json()
    assert again["tool_calls"] == second["tool_calls"]
    last = (await talk.post(results(again))).json()
    assert last["stdout"].endswith("then 3\n")
    assert (await talk.post(results(second))).json() == last


async def test_another_result_for_an_answered_call_is_a_conflict(talk: Any) -> None:
    first = (await talk.post(FIRST)).json()
    await talk.post(results(first))
    refused = await talk.post(results(first, result="other"))
    assert (refused.status_code, refused.json()["error"]) == (409, "already_answered")


async def test_two_continuations_at_once_are_one_too_many(talk: Any) -> None:
    async def slow(act: Any) -> None:
        await act.start()
        await act.call(call(1))
        await answers(act, "call_1")
        await gate.wait()
        await act.finish()

    gate = asyncio.Event()
    talk.handler.scripts["slow"] = slow
    first = (await talk.post({**FIRST, "code": "slow"})).json()
    both = {asyncio.create_task(talk.post(results(first))) for _ in range(2)}
    (refused,), (waiting,) = await asyncio.wait(both, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    assert refused.result().status_code == 409
    assert refused.result().json()["error"] == "continuation_in_flight"
    gate.set()
    assert (await waiting).json()["status"] == "completed"


async def test_any_edge_goes_on_with_what_another_began(make_house: Any) -> None:
    """The second edge shares the broker, Redis and the key, and nothing else."""
    house = await make_house()
    house.handler.scripts["one"] = one_call
    other = await make_house(publisher=house.transport, handled=False)
    first = (await house.client.post("/exec/programmatic", json={**FIRST, "code": "one"})).json()
    last = await other.client.post("/exec/programmatic", json=results(first))
    assert (last.json()["status"], last.json()["stdout"]) == ("completed", "1")
    stranger = await make_house(publisher=house.transport, handled=False, continuation_key=b"another")
    refused = await stranger.client.post("/exec/programmatic", json=results(first))
    assert (refused.status_code, refused.json()["message"]) == (400, "Invalid continuation token")


async def test_a_token_is_its_owners(talk: Any, keys: tuple[str, str]) -> None:
    first = (await talk.post(FIRST)).json()
    refused = await talk.post(results(first), **{"x-api-key": keys[1]})
    assert refused.status_code == 403
    assert (await talk.post(results(first), **{"x-api-key": "none"})).status_code == 401


async def test_a_token_of_a_run_that_is_gone_is_unknown(talk: Any, make_house: Any) -> None:
    first = (await talk.post(FIRST)).json()
    empty = await make_house()
    refused = await empty.client.post("/exec/programmatic", json=results(first))
    assert (refused.status_code, refused.json()["error"]) == (404, "unknown_continuation")
    late = await make_house(publisher=talk.transport, handled=False, continuation_s=-1.0)
    assert (await late.client.post("/exec/programmatic", json=results(first))).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tools": TOOLS}, "code"),
        ({"code": ""}, "code"),
        ({"code": "x", "lang": "cobol"}, "lang"),
        ({"code": "x", "lang": "go", "tools": TOOLS}, "tools"),
        ({"code": "x", "tools": [{}]}, "tools[0]"),
        ({"code": "x", "tools": [{"name": "!"}]}, "tools[0].name"),
        ({"code": "x", "tools": [{"name": "a-b"}, {"name": "a_b"}]}, "tools[1].name"),
        ({"code": "x", "tools": {}}, "tools"),
        ({"code": "x", "timeout": "long"}, "timeout"),
        ({"code": "x", "timeout": -1}, "timeout"),
        ({"code": "x", "files": [{"id": "a", "name": "n"}]}, "files"),
        ({"continuation_token": ""}, "continuation_token"),
        ({"continuation_token": "x.y.z", "tool_results": []}, "continuation_token"),
        ({"continuation_token": 5}, "continuation_token"),
    ],
)
async def test_what_is_wrong_with_a_body_is_told(talk: Any, body: dict[str, Any], field: str) -> None:
    refused = await talk.post(body)
    assert (refused.status_code, refused.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "tool_results"),
        ([{"call_id": "call_1"}], "tool_results"),
        ([{"call_id": "call_1"}] * 2, "tool_results"),
        ([{"call_id": f"call_{n}"} for n in (1, 2, 9)], "tool_results[2].call_id"),
        ([{"call_id": "call_1", "result": "x" * 5_300_000}, {"call_id": "call_2"}], "tool_results[0].result"),
        ([{"result": 1}], "tool_results[0]"),
    ],
)
async def test_what_is_wrong_with_results_is_told_and_the_run_goes_on(
    talk: Any, given: list[dict[str, Any]], field: str
) -> None:
    first = (await talk.post(FIRST)).json()
    refused = await talk.post({"continuation_token": first["continuation_token"], "tool_results": given})
    assert (refused.status_code, refused.json()["field"]) == (400, field)
    assert (await talk.post(results(first))).json()["status"] == "tool_call_required"


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ({"outcome": "timed_out", "message": "It took too long."}, "Time limit exceeded"),
        ({"outcome": "out_of_memory"}, "Out of memory"),
        ({"outcome": "killed", "signal": "SIGSEGV"}, "Sandbox exited with code 139"),
        ({"outcome": "lost", "message": "The handler was lost."}, "Execution failed or timed out"),
        ({"outcome": "cancelled", "message": "No result came."}, "Execution failed or timed out"),
    ],
)
async def test_a_program_that_is_ended_is_an_error_in_words_that_clients_know(
    talk: Any, ending: dict[str, Any], error: str
) -> None:
    async def end(act: Any) -> None:
        await act.start()
        await act.say("so far")
        await act.finish(**ending)

    talk.handler.scripts["end"] = end
    told = (await talk.post({**FIRST, "code": "end"})).json()
    assert (told["status"], told["error"], told["stdout"]) == ("error", error, "so far")
    assert ending.get("message", "") in told["stderr"]


async def test_a_failing_program_is_completed_with_its_traceback(talk: Any) -> None:
    async def fail(act: Any) -> None:
        await act.start()
        await act.say("Traceback ...", "stderr")
        await act.finish(exit_code=1)

    talk.handler.scripts["fail"] = fail
    told = (await talk.post({**FIRST, "code": "fail"})).json()
    assert (told["status"], told["stderr"]) == ("completed", "Traceback ...")


async def test_a_cancel_ends_what_its_request_waits_for(talk: Any) -> None:
    async def wait(act: Any) -> None:
        await act.start()
        started.set()
        told = await act.controls.get()
        assert isinstance(told, CancelExecution)
        await act.finish("cancelled", message=told.reason)

    started = asyncio.Event()
    talk.handler.scripts["wait"] = wait
    waiting = asyncio.create_task(
        talk.post({**FIRST, "code": "wait"}, **{"X-LibreChat-Code-Request-ID": "r-1"})
    )
    await asyncio.wait_for(started.wait(), 20)
    cancelled = await talk.client.post("/exec/programmatic/cancel", json={"request_id": "r-1"})
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await waiting).json()["error"] == "Execution failed or timed out"


async def test_a_cancel_that_overtakes_its_request_counts(talk: Any, keys: tuple[str, str]) -> None:
    """And that of somebody else does not."""
    for name, key in (("early", keys[0]), ("theirs", keys[1])):
        body = {"request_id": name}
        headers = {"x-api-key": key}
        answer = await talk.client.post("/exec/programmatic/cancel", json=body, headers=headers)
        assert answer.status_code == 200
    refused = await talk.post({**FIRST, "code": "one"}, **{"X-LibreChat-Code-Request-ID": "early"})
    assert (refused.status_code, refused.json()["error"]) == (409, "cancelled")
    told = await talk.post({**FIRST, "code": "one"}, **{"X-LibreChat-Code-Request-ID": "theirs"})
    assert told.json()["status"] == "tool_call_required"


async def test_a_key_in_the_body_is_a_key(talk: Any, keys: tuple[str, str]) -> None:
    """As older clients send it."""
    del talk.client.headers["x-api-key"]
    told = await talk.post({**FIRST, "code": "one", "LIBRECHAT_CODE_API_KEY": keys[0]})
    assert told.json()["status"] == "tool_call_required"
    assert (await talk.post({**FIRST, "code": "one"})).status_code == 401
