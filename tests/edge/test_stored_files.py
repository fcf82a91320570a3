"""What there is, whether it lives, its bytes and its end: as each generation of clients asks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.edge.forms import form


@pytest.fixture
async def uploaded(house: Any) -> tuple[str, str]:
    """Session and id of a file of ten bytes, version 7 of a skill."""
    about = [("kind", None, b"skill"), ("id", None, b"sk-1"), ("version", None, b"7")]
    sent = form(*about, ("file", "in/Ünicode file.tar.gz", b"0123456789"))
    told = (await house.client.post("/upload", **sent)).json()
    return told["session_id"], told["files"][0]["fileId"]


async def test_the_summary_begins_with_session_and_id_so_that_clients_recognise_their_file(
    house: Any, uploaded: tuple[str, str]
) -> None:
    """Without the session prefix every turn uploads every file again; no dot may be in the id."""
    session, file = uploaded
    [entry] = (await house.client.get(f"/files/{session}?detail=summary")).json()
    assert entry["name"] == f"{session}/{file}.gz"
    assert entry["name"].split("/")[1].split(".")[0] == file
    assert datetime.now(UTC) - datetime.fromisoformat(entry["lastModified"]) < timedelta(hours=1)
    assert (entry["size"], bool(entry["etag"])) == (10, True)


async def test_full_has_the_name_where_the_older_clients_look_and_the_ids_where_the_newer_ones_do(
    house: Any, uploaded: tuple[str, str]
) -> None:
    """Without it the older ones throw and run without files."""
    session, file = uploaded
    [entry] = (await house.client.get(f"/files/{session}?detail=full")).json()
    assert entry["metadata"]["original-filename"] == "in/Ünicode file.tar.gz"
    assert entry["metadata"]["content-type"] == entry["contentType"]
    assert (entry["id"], entry["storage_session_id"], entry["resource_id"]) == (file, session, "sk-1")


@pytest.mark.parametrize(("detail", "name"), [("simple", "name"), ("normalized", "name"), ("", "name")])
async def test_the_other_details_name_the_file_as_it_was_sent(
    house: Any, uploaded: tuple[str, str], detail: str, name: str
) -> None:
    """With the id beside it."""
    session, file = uploaded
    query = f"?detail={detail}" if detail else ""
    [entry] = (await house.client.get(f"/files/{session}{query}")).json()
    assert (entry["id"], entry[name]) == (file, "in/Ünicode file.tar.gz")


async def test_an_unknown_detail_is_answered_with_the_known_ones(house: Any) -> None:
    """A misspelling would else look like an empty session."""
    answer = await house.client.get(f"/files/{'S' * 21}?detail=sumary")
    assert answer.status_code == 400
    assert "summary" in answer.json()["message"]


@pytest.mark.parametrize("session", ["S" * 21, "no.such.id", "x" * 200])
async def test_an_unknown_session_holds_nothing(house: Any, session: str) -> None:
    """An empty array, as clients expect."""
    answer = await house.client.get(f"/files/{session}")
    assert (answer.status_code, answer.json()) == (200, [])


async def test_a_json_content_type_on_a_get_without_a_body_is_nothing_special(
    house: Any, uploaded: tuple[str, str]
) -> None:
    """Some clients always send it."""
    path = f"/files/{uploaded[0]}?detail=summary"
    answer = await house.client.get(path, headers={"content-type": "application/json"})
    assert (answer.status_code, len(answer.json())) == (200, 1)


async def test_a_file_of_another_owner_is_as_unknown_as_one_that_never_was(
    house: Any, keys: tuple[str, str], uploaded: tuple[str, str]
) -> None:
    """On every route, in the same words."""
    session, file = uploaded
    other = {"x-api-key": keys[1]}
    for method, path in [
        ("GET", f"/sessions/{session}/objects/{file}"),
        ("GET", f"/download/{session}/{file}"),
        ("HEAD", f"/download/{session}/{file}"),
        ("DELETE", f"/files/{session}/{file}"),
    ]:
        foreign = await house.client.request(method, path, headers=other)
        unknown = await house.client.request(method, path.replace(file, "Q" * 21))
        assert foreign.status_code == unknown.status_code == 404, path
        assert foreign.content == unknown.content
    assert (await house.client.get(f"/files/{session}", headers=other)).json() == []
    assert (await house.client.get(f"/download/{session}/{file}")).status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("?kind=skill&id=sk-1&version=7", 200),
        ("?kind=skill&id=sk-1&version=8", 404),
        ("?kind=user&id=u", 404),
        ("?kind=skill&id=sk-1", 200),
        ("?entity_id=e", 200),
    ],
)
async def test_whether_a_file_lives_is_answered_for_what_the_client_means(
    house: Any, uploaded: tuple[str, str], query: str, status: int
) -> None:
    """A newer version of a skill must be uploaded; what was never said cannot differ."""
    session, file = uploaded
    answer = await house.client.get(f"/sessions/{session}/objects/{file}{query}")
    assert answer.status_code == status
    assert ("lastModified" in answer.json()) == (status == 200)
    shown = (await house.client.get(f"/files/{session}{query}")).json()
    assert bool(shown) == (status == 200)


async def test_a_download_carries_everything_a_browser_needs(house: Any, uploaded: tuple[str, str]) -> None:
    """Front ends pass the headers on; what code made is never shown as a page."""
    session, file = uploaded
    answer = await house.client.get(f"/download/{session}/{file}?kind=user&id=u")
    assert answer.content == b"0123456789"
    assert answer.headers["content-length"] == "10"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    disposition = answer.headers["content-disposition"]
    assert disposition == (
        "attachment; filename=\"_nicode file.tar.gz\"; filename*=UTF-8''%C3%9Cnicode%20file.tar.gz"
    )


async def test_head_says_the_same_without_the_bytes(house: Any, uploaded: tuple[str, str]) -> None:
    """Its length, not nought."""
    session, file = uploaded
    head = await house.client.head(f"/download/{session}/{file}")
    get = await house.client.get(f"/download/{session}/{file}")
    assert (head.status_code, head.content) == (200, b"")
    same = {"content-length", "content-type", "etag", "last-modified", "content-disposition"}
    assert {name: head.headers[name] for name in same} == {name: get.headers[name] for name in same}


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-500", 206, b"56789", "bytes 5-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("nonsense", 200, b"0123456789", None),
    ],
)
async def test_a_range_is_answered_with_that_range_and_what_we_do_not_do_with_everything(
    house: Any, uploaded: tuple[str, str], asked: str, status: int, content: bytes, told: str | None
) -> None:
    """RFC 9110, section 14.2."""
    session, file = uploaded
    answer = await house.client.get(f"/download/{session}/{file}", headers={"range": asked})
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers.get("content-range") == told


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
async def test_a_range_behind_the_end_is_refused(house: Any, uploaded: tuple[str, str], asked: str) -> None:
    """With the length, so that the client can ask better."""
    session, file = uploaded
    answer = await house.client.get(f"/download/{session}/{file}", headers={"range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")


async def test_what_the_client_has_already_is_not_sent_again(house: Any, uploaded: tuple[str, str]) -> None:
    """And a range of another version is no range of this one."""
    path = "/download/{}/{}".format(*uploaded)
    tag = (await house.client.get(path)).headers["etag"]
    assert (await house.client.get(path, headers={"if-none-match": f'"x", W/{tag}'})).status_code == 304
    old = await house.client.get(path, headers={"range": "bytes=5-", "if-range": '"older"'})
    same = await house.client.get(path, headers={"range": "bytes=5-", "if-range": tag})
    assert (old.status_code, same.status_code) == (200, 206)


async def test_a_deleted_file_is_gone_from_everywhere(house: Any, uploaded: tuple[str, str]) -> None:
    """Deleting it twice is a 404."""
    session, file = uploaded
    assert (await house.client.delete(f"/files/{session}/{file}")).status_code == 200
    assert (await house.client.delete(f"/files/{session}/{file}")).status_code == 404
    assert (await house.client.get(f"/download/{session}/{file}")).status_code == 404
    assert (await house.client.get(f"/files/{session}")).json() == []


async def test_a_file_whose_bytes_are_lost_is_a_404_and_no_broken_answer(
    house: Any, file_store: Any, uploaded: tuple[str, str]
) -> None:
    """Somebody emptied the bucket."""
    session, file = uploaded
    await file_store.objects.delete(f"files/{session}/{file}")
    answer = await house.client.get(f"/download/{session}/{file}")
    assert (answer.status_code, answer.json()["error"]) == (404, "file_not_found")


async def test_an_empty_file_is_a_file(house: Any) -> None:
    """Nought bytes, and no range of them."""
    told = (await house.client.post("/upload", **form(("file", "empty", b"")))).json()
    path = f"/download/{told['session_id']}/{told['files'][0]['fileId']}"
    answer = await house.client.get(path)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
