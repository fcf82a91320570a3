"""Files of `POST /exec`: references of both shapes, and what each generation is told afterwards."""

from typing import Any

import pytest

from schemas.files import FileNotKept, FileOrigin, FileRef
from tests.edge.forms import form


async def upload(house: Any, name: str = "data.csv", **headers: str) -> tuple[str, str]:
    """Session and id of a new file."""
    sent = form(("file", name, b"x"))
    sent["headers"] |= headers
    told = (await house.client.post("/upload", **sent)).json()
    return told["session_id"], told["files"][0]["fileId"]


def older(session: str, file: str, name: str) -> dict[str, Any]:
    return {"id": file, "session_id": session, "name": name}


def newer(session: str, file: str, name: str) -> dict[str, Any]:
    about = {"resource_id": "r", "kind": "skill", "version": 3}
    return {"id": file, "storage_session_id": session, "name": name, **about}


async def run(house: Any, *files: dict[str, Any], code: str = "x", **headers: str) -> Any:
    body = {"lang": "py", "code": code, "files": list(files)}
    return await house.client.post("/exec", json=body, headers=headers)


@pytest.mark.parametrize("shape", [older, newer])
async def test_the_name_in_the_request_decides_where_a_file_is_put(house: Any, shape: Any) -> None:
    """Not the name at upload."""
    session, file = await upload(house)
    assert (await run(house, shape(session, file, "in/other.csv"))).status_code == 200
    [put] = house.handler.seen[0].files
    assert (put.name, put.session_id, put.file_id) == ("in/other.csv", session, file)


@pytest.mark.parametrize("shape", [older, newer])
async def test_a_file_of_somebody_else_is_refused_like_one_that_never_was(
    house: Any, keys: tuple[str, str], shape: Any
) -> None:
    """403 as the contract has it, and nothing is published."""
    session, file = await upload(house)
    foreign = await run(house, shape(session, file, "a"), **{"x-api-key": keys[1]})
    unknown = await run(house, shape(session, "Q" * 21, "a"))
    odd = await run(house, shape("../..", "a b", "a"))
    assert foreign.status_code == unknown.status_code == odd.status_code == 403
    assert foreign.json() == unknown.json() == odd.json()
    assert foreign.json()["error"] == "unauthorized_file_reference"
    assert not house.handler.seen


async def test_natively_the_same_is_a_fault_of_the_request(house: Any, keys: tuple[str, str]) -> None:
    """422, naming the field, for a foreign file as for none."""
    session, file = await upload(house)
    body = {"language": "py", "code": "x", "files": [{"name": "a", "session_id": session, "file_id": file}]}
    answer = await house.client.post("/executions", json=body, headers={"x-api-key": keys[1]})
    assert (answer.status_code, answer.json()["field"]) == (422, "files[0]")
    assert (await house.client.post("/executions", json=body)).status_code == 202


async def test_a_file_is_found_by_its_id_when_a_client_moved_it_to_the_wrong_session(
    house: Any, keys: tuple[str, str]
) -> None:
    """Older clients name the newest session with every file; still only within one owner."""
    session, file = await upload(house)
    wrong = older("W" * 21, file, "a")
    assert (await run(house, wrong)).status_code == 200
    assert house.handler.seen[0].files[0].session_id == session
    assert (await run(house, wrong, **{"x-api-key": keys[1]})).status_code == 403


async def test_of_two_files_under_one_name_the_last_counts(house: Any) -> None:
    """As if they were written one after the other."""
    first, second = await upload(house), await upload(house)
    assert (await run(house, older(*first, "a"), older(*second, "a"))).status_code == 200
    assert [file.file_id for file in house.handler.seen[0].files] == [second[1]]


def produced(name: str, **more: Any) -> FileRef:
    return FileRef(
        id="N" * 21, session_id="T" * 21, name=name, size_bytes=1, content_type="text/plain", **more
    )


async def told_files(house: Any, *files: dict[str, Any], **finished: Any) -> dict[str, Any]:
    """The answer to a run that ended as `finished` says."""

    async def end(act: Any) -> None:
        await act.start()
        await act.finish(session_id="T" * 21, **finished)

    house.handler.scripts["end"] = end
    return (await run(house, *files, code="end")).json()


async def test_newer_clients_are_told_of_an_unchanged_input_with_its_own_ids(house: Any) -> None:
    """And with what they said of it."""
    ref = newer(*await upload(house), "in.csv")
    told = await told_files(house, ref, files=[produced("out.png")])
    output, input_ = told["files"]
    assert output == {
        "id": "N" * 21,
        "name": "out.png",
        "session_id": "T" * 21,
        "storage_session_id": "T" * 21,
    }
    assert input_ == {**ref, "session_id": ref["storage_session_id"], "inherited": True}


async def test_older_clients_are_not_told_of_an_unchanged_input(house: Any) -> None:
    """They would take it for an output and ask for it where it is not."""
    told = await told_files(house, older(*await upload(house), "in.csv"), files=[produced("out.png")])
    assert [file["name"] for file in told["files"]] == ["out.png"]
    assert "inherited" not in told["files"][0]


@pytest.mark.parametrize("shape", [older, newer])
async def test_a_changed_input_is_an_output_that_says_where_it_comes_from(house: Any, shape: Any) -> None:
    """New id, new session; not inherited."""
    session, file = await upload(house)
    changed = produced("in.csv", modified_from=FileOrigin(id=file, session_id=session))
    told = await told_files(house, shape(session, file, "in.csv"), files=[changed])
    [output] = told["files"]
    assert (output["id"], output["session_id"]) == ("N" * 21, "T" * 21)
    assert output["modified_from"] == {"id": file, "storage_session_id": session}


async def test_a_deleted_input_is_named_and_no_longer_listed(house: Any) -> None:
    """Absence alone would say nothing."""
    told = await told_files(house, newer(*await upload(house), "in.csv"), deleted_files=["in.csv"])
    assert (told["files"], told["deleted_files"]) == ([], ["in.csv"])


@pytest.mark.parametrize(("kept", "status"), [([], "failed"), ([produced("small")], "partial")])
async def test_an_output_that_was_not_kept_is_said_in_stderr_and_to_newer_clients(
    house: Any, kept: list[FileRef], status: str
) -> None:
    """The numbers add up, and the run stays good."""
    lost = [FileNotKept(name="big.bin", reason="20 bytes, a file may have 10")]
    told = await told_files(house, files=kept, files_not_kept=lost, exit_code=0)
    assert told["stderr"] == "File 'big.bin' was not kept: 20 bytes, a file may have 10.\n"
    assert told["code"] == 0
    assert told["artifact_delivery"] == {
        "code": "artifact_delivery_failed",
        "status": status,
        "attempted": len(kept) + 1,
        "delivered": len(kept),
        "failed": 1,
    }
