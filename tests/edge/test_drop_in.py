"""Small things that break a service put in the place of another: each went wrong somewhere once."""

import base64
import uuid
from pathlib import Path
from typing import Any

import pytest

from edge.from_settings import config_of
from infra.settings import load_settings
from schemas.files import FileRef
from tests.edge.forms import form


async def upload(house: Any, name: str = "a b.csv") -> tuple[str, str]:
    told = (await house.client.post("/upload", **form(("file", name, b"x")))).json()
    return told["session_id"], told["files"][0]["fileId"]


async def test_no_id_is_longer_or_shorter_than_the_front_end_downloads(house: Any) -> None:
    """A UUID runs everything and downloads nothing."""
    session, file = await upload(house)
    run = (await house.client.post("/exec", json={"lang": "py", "code": "x"})).json()
    assert {len(session), len(file), len(run["session_id"])} == {21}
    assert len(str(uuid.uuid4())) != 21


async def test_a_summary_begins_with_the_session_or_every_turn_uploads_again(house: Any) -> None:
    """The client looks for the first name that starts with both ids."""
    session, file = await upload(house)
    [entry] = (await house.client.get(f"/files/{session}?detail=summary")).json()
    assert entry["name"].startswith(f"{session}/{file}")


async def test_code_that_fails_is_answered_with_200_or_no_model_sees_the_traceback(house: Any) -> None:
    """Whether it crashed, was killed, or did not compile."""

    async def crash(act: Any) -> None:
        await act.start()
        await act.say("SyntaxError\n", "stderr")
        await act.finish(exit_code=1, stage="build")

    house.handler.scripts["crash"] = crash
    answer = await house.client.post("/exec", json={"lang": "c", "code": "crash"})
    assert (answer.status_code, answer.json()["stderr"]) == (200, "SyntaxError\n")


async def test_no_output_is_an_empty_text_and_not_null(house: Any) -> None:
    """Both streams, always."""

    async def silent(act: Any) -> None:
        await act.start()
        await act.finish()

    house.handler.scripts["silent"] = silent
    told = (await house.client.post("/exec", json={"lang": "py", "code": "silent"})).json()
    assert (told["stdout"], told["stderr"], told["files"]) == ("", "", [])


@pytest.mark.parametrize("colon", ["", ":"])
async def test_a_key_in_the_url_comes_as_basic_with_and_without_a_colon(
    house: Any, keys: tuple[str, str], colon: str
) -> None:
    """One of a front end's two HTTP libraries leaves it out."""
    del house.client.headers["x-api-key"]
    basic = "Basic " + base64.b64encode(f"{keys[0]}{colon}".encode()).decode()
    headers = {"authorization": basic}
    assert (await house.client.post("/exec", json={"lang": "py", "code": "x"}, headers=headers)).is_success
    assert (await house.client.get(f"/files/{'S' * 21}", headers=headers)).is_success


async def test_an_unchanged_input_is_no_output(house: Any) -> None:
    """Neither for the older clients nor, without the word inherited, for the newer ones."""
    session, file = await upload(house)
    for named, expected in (("session_id", []), ("storage_session_id", [True])):
        body = {"lang": "py", "code": "x", "files": [{"id": file, "name": "a b.csv", named: session}]}
        files = (await house.client.post("/exec", json=body)).json()["files"]
        assert [each.get("inherited") for each in files] == expected


async def test_a_name_is_not_made_prettier_at_upload(house: Any) -> None:
    """The model is told the name that the user's file had."""
    told = (await house.client.post("/upload", **form(("file", "Ä & b (1)'.csv", b"x")))).json()
    assert told["files"][0]["filename"] == "Ä & b (1)'.csv"


async def test_a_json_content_type_on_a_get_is_no_bad_request(house: Any) -> None:
    """There is no body to be read as JSON."""
    headers = {"content-type": "application/json"}
    assert (await house.client.get(f"/files/{'S' * 21}", headers=headers)).status_code == 200


async def test_what_a_run_made_can_be_fetched_when_the_answer_is_there(house: Any, file_store: Any) -> None:
    """Not a moment later: the front end asks at once."""

    async def content() -> Any:
        yield b"made"

    async def make(act: Any) -> None:
        await act.start()
        ref = await file_store.save("default", act.command.session_id, "out.txt", content())
        assert isinstance(ref, FileRef)
        await act.finish(files=[ref], session_id=act.command.session_id)

    house.handler.scripts["make"] = make
    told = (await house.client.post("/exec", json={"lang": "py", "code": "make"})).json()
    [file] = told["files"]
    got = await house.client.get(f"/download/{told['session_id']}/{file['id']}")
    assert got.content == b"made"


def test_nobody_is_limited_below_what_one_conversation_does(tmp_path: Path) -> None:
    """At least 20 runs in half a minute, 30 uploads in five, 60 downloads and 120 listings in one."""
    config = config_of(load_settings({"MILLRACE_DATA_DIR": str(tmp_path)}))
    limits = config.user_limits_per_minute
    least = {"runs": 40, "uploads": 30, "downloads": 60, "listings": 120}
    assert {kind for kind, most in least.items() if limits[kind] < most} == set()


def test_limits_can_be_switched_off(tmp_path: Path) -> None:
    """RATE_LIMIT_ENABLED."""
    settings = load_settings({"MILLRACE_DATA_DIR": str(tmp_path), "RATE_LIMIT_ENABLED": "false"})
    assert config_of(settings).user_limits_per_minute == {}
