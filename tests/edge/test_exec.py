"""`POST /exec`: what chat front ends send and read."""

import base64
from typing import Any

import pytest

from schemas.events import OutputCount, Usage
from schemas.files import FileRef
from schemas.ids import FileId, SessionId

FIELDS = {"session_id", "stdout", "stderr", "files", "code", "signal", "message", "status", "wall_time"}


@pytest.mark.parametrize("path", ["/exec", "/v1/exec", "//exec", "/v1//exec", "/exec/"])
async def test_a_run_is_answered_with_everything_the_contract_names(house: Any, path: str) -> None:
    """At the root and under /v1, with the slash doubled by clients that join addresses by hand."""
    answer = await house.client.post(f"http://edge{path}", json={"lang": "py", "code": "x"})
    assert answer.status_code == 200
    told = answer.json()
    assert set(told) == FIELDS
    assert (told["stdout"], told["stderr"], told["files"], told["code"]) == ("hello\n", "", [], 0)
    assert len(told["session_id"]) == 21


async def test_every_run_has_a_session_of_its_own_or_goes_on_with_the_one_it_names(house: Any) -> None:
    """Going on with one opens none in the owner's list."""
    bodies = [
        {"lang": "py", "code": "x", "session_id": session} for session in (None, "", "no id!", "A" * 21)
    ]
    told = [(await house.client.post("/exec", json=body)).json()["session_id"] for body in bodies]
    assert [len(session) for session in told] == [21] * 4
    assert len(set(told)) == 4
    assert told[3] == "A" * 21
    assert [command.session_id for command in house.handler.seen] == told
    assert [command.session_unlisted for command in house.handler.seen] == [False] * 3 + [True]
    assert (await house.client.get("/sessions")).json()["total"] == 0


async def test_fields_of_all_generations_are_taken_and_unknown_ones_ignored(house: Any) -> None:
    """Nothing in a request names its generation."""
    body = {
        "lang": "python",
        "code": "x",
        "args": ["a", "b"],
        "files": [],
        "user_id": "u",
        "entity_id": "e",
        "timeout": 5000,
        "runtime_session_hint": "h",
        "something": {"new": [1]},
    }
    assert (await house.client.post("/exec", json=body)).status_code == 200
    [command] = house.handler.seen
    assert (command.language, command.args, command.limits.timeout_s) == ("py", ["a", "b"], 5.0)
    assert command.stdin == "", "nobody will send any input"
    assert command.deadline is not None, "what nobody waits for any more must not start"


@pytest.mark.parametrize(("args", "seen"), [(None, []), ("one", ["one"]), ([], []), (["x"], ["x"])])
async def test_arguments_may_also_be_null_or_one_string(house: Any, args: Any, seen: list[str]) -> None:
    """Models write all of these."""
    assert (await house.client.post("/exec", json={"lang": "py", "code": "x", "args": args})).is_success
    assert house.handler.seen[0].args == seen


async def test_code_that_fails_is_a_good_answer(house: Any) -> None:
    """The traceback reaches the model; nothing is added to it."""

    async def crash(act: Any) -> None:
        await act.start()
        await act.say("Traceback\n", "stderr")
        await act.finish(exit_code=1, message="The program exited with status 1.")

    house.handler.scripts["crash"] = crash
    told = (await house.client.post("/exec", json={"lang": "py", "code": "crash"})).json()
    assert (told["code"], told["stderr"], told["status"]) == (1, "Traceback\n", "exited")


@pytest.mark.parametrize("outcome", ["timed_out", "out_of_memory", "killed", "cancelled"])
async def test_how_a_run_ended_is_said_in_stderr_because_clients_read_nothing_else(
    house: Any, outcome: str
) -> None:
    """With status 200, and with the output it had so far."""

    async def end_badly(act: Any) -> None:
        await act.start()
        await act.say("partial")
        await act.say("warning", "stderr")
        await act.finish(outcome, signal="SIGKILL", message="It went over a limit.", usage=Usage(wall_s=1.5))

    house.handler.scripts["bad"] = end_badly
    answer = await house.client.post("/exec", json={"lang": "py", "code": "bad"})
    told = answer.json()
    assert answer.status_code == 200
    assert told["stdout"] == "partial"
    assert told["stderr"] == "warning\nIt went over a limit.\n"
    assert (told["code"], told["signal"], told["status"]) == (None, "SIGKILL", outcome)
    assert told["wall_time"] == 1500


async def test_a_silent_failure_is_said_in_stderr_too(house: Any) -> None:
    """A model that reads two empty streams would take it for success."""

    async def fail(act: Any) -> None:
        await act.start()
        await act.finish(exit_code=3)

    house.handler.scripts["fail"] = fail
    told = (await house.client.post("/exec", json={"lang": "py", "code": "fail"})).json()
    assert told["stderr"] == "The program exited with status 3.\n"


@pytest.mark.parametrize(("room", "kept", "dropped"), [(7, "12345é", 105), (6, "12345", 107), (0, "", 112)])
async def test_dropped_output_is_said_in_stderr(make_house: Any, room: int, kept: str, dropped: int) -> None:
    """What the handler dropped and what this edge did not keep, in one number; no character is cut."""
    house = await make_house(output_bytes_max=room)

    async def flood(act: Any) -> None:
        await act.start()
        await act.say("12345é")
        await act.say("ü789")
        await act.finish(output=OutputCount(dropped_bytes=100))

    house.handler.scripts["flood"] = flood
    told = (await house.client.post("/exec", json={"lang": "py", "code": "flood"})).json()
    assert told["stdout"] == kept
    assert told["stderr"] == f"Output was cut: {dropped} bytes after the limit were dropped.\n"


async def test_bytes_that_are_no_text_are_replaced(house: Any) -> None:
    """JSON has no bytes; the events keep them."""

    async def binary(act: Any) -> None:
        await act.start()
        await act.say(base64.b64encode(b"a\xffb").decode(), encoding="base64")
        await act.finish()

    house.handler.scripts["binary"] = binary
    told = (await house.client.post("/exec", json={"lang": "py", "code": "binary"})).json()
    assert told["stdout"] == "a\N{REPLACEMENT CHARACTER}b"


async def test_produced_files_carry_both_session_fields(house: Any) -> None:
    """Each generation reads its own."""

    async def produce(act: Any) -> None:
        await act.start()
        ref = FileRef(
            id=FileId("F" * 21),
            session_id=SessionId("S" * 21),
            name="plot.png",
            size_bytes=3,
            content_type="image/png",
        )
        await act.finish(files=[ref], deleted_files=["old.csv"], session_id=SessionId("S" * 21))

    house.handler.scripts["produce"] = produce
    told = (await house.client.post("/exec", json={"lang": "py", "code": "produce"})).json()
    session = "S" * 21
    expected = {"id": "F" * 21, "name": "plot.png", "session_id": session, "storage_session_id": session}
    assert told["files"] == [expected]
    assert told["deleted_files"] == ["old.csv"]
    assert told["session_id"] == session


@pytest.mark.parametrize(
    ("outcome", "status", "error"),
    [("rejected", 400, "rejected"), ("expired", 503, "execution_expired"), ("lost", 503, "execution_lost")],
)
async def test_a_run_that_never_was_is_an_error(house: Any, outcome: str, status: int, error: str) -> None:
    """With Retry-After where trying again may help."""

    async def never(act: Any) -> None:
        await act.finish(outcome, attempt=0, message="Because.")

    house.handler.scripts["never"] = never
    answer = await house.client.post("/exec", json={"lang": "py", "code": "never"})
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["message"] == "Because."
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_waiting_is_bounded_and_the_run_is_cancelled_then(make_house: Any, scripts: Any) -> None:
    """504 only when the whole job outlived its budget."""
    house = await make_house(sync_wait_s_max=0.05)
    house.handler.scripts["slow"] = scripts["until_cancelled"]
    answer = await house.client.post("/exec", json={"lang": "py", "code": "slow"})
    assert (answer.status_code, answer.json()["error"]) == (504, "execution_timeout")
    await house.handler.told.wait()
    assert type(house.handler.heard[0]).__name__ == "CancelExecution"


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"lang": "cobol"}, 400, "lang"),
        ({"lang": None}, 422, "lang"),
        ({"code": ""}, 400, "code"),
        ({"code": 7}, 422, "code"),
        ({"code": "x" * 2000}, 400, "code"),
        ({"args": [1]}, 422, "args[0]"),
        ({"args": {"a": 1}}, 422, "args"),
        ({"timeout": -1}, 400, "timeout"),
        ({"timeout": "soon"}, 422, "timeout"),
        ({"files": [{"id": "F" * 21, "name": "x"}]}, 400, "files"),
        ({"files": [{"id": "../x", "session_id": "s", "name": "x"}]}, 403, "files[0]"),
        ({"files": [{"id": "F" * 21, "session_id": "S" * 21, "name": "../x"}]}, 400, "files[0].name"),
        ({"files": "all"}, 422, "files"),
    ],
)
async def test_bad_requests_name_the_field_in_the_contracts_own_words(
    make_house: Any, change: dict[str, Any], status: int, field: str
) -> None:
    """400 and 422 are what its clients tell a model to mend."""
    from schemas.validate import Bounds

    house = await make_house(bounds=Bounds(code_bytes_max=1000))
    answer = await house.client.post("/exec", json={"lang": "py", "code": "x", **change})
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert answer.json()["message"]
    assert not house.handler.seen


async def test_an_unknown_language_is_answered_with_the_list(house: Any) -> None:
    """So that a model can pick another."""
    answer = await house.client.post("/exec", json={"lang": "cobol", "code": "x"})
    assert {"py", "bash", "f90"} <= set(answer.json()["limit"])
