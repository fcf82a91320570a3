"""`POST /upload` and `/upload/batch`: names kept, limits said, and nothing left of what broke off."""

import asyncio
import http.client
import re
from dataclasses import replace
from typing import Any

import pytest

from infra.errors import Unavailable
from schemas.validate import Bounds
from tests.edge.forms import form

ID = re.compile(r"[A-Za-z0-9_-]{21}")


async def listed(house: Any, session: str, detail: str = "full") -> list[dict[str, Any]]:
    answer = await house.client.get(f"/files/{session}?detail={detail}")
    assert answer.status_code == 200
    return answer.json()


async def stored_anywhere(house: Any, file_store: Any) -> list[str]:
    """Names of all bytes that lie in the store."""
    return [found.key async for found in file_store.objects.listing("files/")]


@pytest.mark.parametrize("path", ["/upload", "/v1/upload", "//upload"])
async def test_an_uploaded_file_is_answered_as_every_generation_reads_it(house: Any, path: str) -> None:
    """`message` is the word success, and both session fields are there."""
    answer = await house.client.post(f"http://edge{path}", **form(("file", "data.csv", b"a,b\n")))
    told = answer.json()
    assert (answer.status_code, told["message"]) == (200, "success")
    assert told["session_id"] == told["storage_session_id"]
    [file] = told["files"]
    assert file["filename"] == "data.csv"
    assert ID.fullmatch(told["session_id"])
    assert ID.fullmatch(file["fileId"])
    content = await house.client.get(f"/download/{told['session_id']}/{file['fileId']}")
    assert content.content == b"a,b\n"


NAMES = [
    "Übersicht (final) [2].csv",
    "it's ours; really.txt",
    "a, b = c.txt",
    'say "cheese".txt',
    "数据.csv",
    "\u200fעברית\u200e.txt",  # noqa: RUF001 - marks of direction are part of names
    "..data..",
    " padded ",
    "%0A%2F.txt",
    "no extension",
    "skills/x/SKILL.md",
    "x" * 251 + ".txt",
]


@pytest.mark.parametrize("name", NAMES)
async def test_names_survive_as_they_were_sent(house: Any, name: str) -> None:
    """The model is told the original name, directories and all."""
    answer = (await house.client.post("/upload/batch", **form(("file", name, b"x")))).json()
    assert [file["filename"] for file in answer["files"]] == [name]
    [entry] = await listed(house, answer["session_id"])
    assert entry["metadata"]["original-filename"] == name


HOSTILE = ["../x", "a/../b", "/etc/passwd", "a//b", ".", "", "a\\b", "a\0b", "a\x01b", "x" * 300, "é" * 130]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_name_is_refused_and_nothing_is_stored(
    house: Any, file_store: Any, name: str
) -> None:
    """Whether the parser or the rules refuse it."""
    answer = await house.client.post("/upload", **form(("file", name, b"x")))
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"]
    assert await stored_anywhere(house, file_store) == []


async def test_a_newline_in_a_name_breaks_the_form_and_not_us(house: Any) -> None:
    """It ends the header line, so what follows is no header."""
    answer = await house.client.post("/upload", **form(("file", "a\r\nb.txt", b"x")))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_multipart")


async def test_a_name_that_is_no_utf8_is_refused(house: Any) -> None:
    """Nobody could ask for it by JSON."""
    sent = form(("file", "NAME", b"x"))
    sent["content"] = sent["content"].replace(b"NAME", b"\xff\xfe.txt")
    answer = await house.client.post("/upload", **sent)
    assert (answer.status_code, answer.json()["field"]) == (400, "file")


async def test_a_name_over_the_limit_is_refused_naming_the_limit(make_house: Any) -> None:
    """MAX_FILENAME_LENGTH."""
    house = await make_house(bounds=Bounds(file_name_length_max=5))
    told = (await house.client.post("/upload", **form(("file", "abcdef", b"x")))).json()
    assert (told["error"], told["limit"]) == ("file_name_too_long", 5)
    assert "MAX_FILENAME_LENGTH" in told["message"]


async def test_a_file_over_the_limit_is_refused_naming_the_limit(house: Any, file_store: Any) -> None:
    """MAX_FILE_SIZE_MB, and the other files of the same upload are not kept either."""
    sent = form(("file", "small", b"x"), ("file", "big", b"x" * 1001))
    answer = await house.client.post("/upload", **sent)
    told = answer.json()
    assert (answer.status_code, told["error"], told["limit"]) == (413, "file_too_large", 1000)
    assert "MAX_FILE_SIZE_MB" in told["message"]
    assert await stored_anywhere(house, file_store) == []


async def test_a_zip_bomb_is_plain_bytes(house: Any) -> None:
    """Nothing is ever unpacked."""
    bomb = b"PK\x03\x04" + b"\0" * 900
    told = (await house.client.post("/upload", **form(("file", "b.zip", bomb)))).json()
    path = f"/download/{told['session_id']}/{told['files'][0]['fileId']}"
    assert (await house.client.get(path)).content == bomb


async def test_of_a_batch_each_file_has_its_own_fate(house: Any) -> None:
    """Too large, too many together and badly named ones are told by name; the others are there."""
    pieces = [
        ("file", "a", b"1" * 900),
        ("file", "big", b"2" * 1001),
        ("file", "../up", b"3"),
        ("file", "b", b"4" * 900),
        ("file", "c", b"5" * 900),
        ("file", "d", b"6" * 900),
        ("file", "e", b"7"),
        ("file", "f", b"8"),
    ]
    answer = await house.client.post("/upload/batch", **form(*pieces))
    told = answer.json()
    assert (answer.status_code, told["message"], told["succeeded"], told["failed"]) == (
        200,
        "partial_success",
        4,
        4,
    )
    assert [file["filename"] for file in told["files"]] == [name for _, name, _ in pieces]
    errors = {file["filename"]: file["error"] for file in told["files"] if file["status"] == "error"}
    assert "MAX_FILE_SIZE_MB" in errors["big"]
    assert "'..'" in errors["../up"]
    assert "MAX_TOTAL_FILE_SIZE_MB" in errors["d"]
    assert "MAX_FILES_PER_SESSION" in errors["f"]
    kept = await listed(house, told["session_id"])
    assert [entry["metadata"]["original-filename"] for entry in kept] == ["a", "b", "c", "e"]


async def test_a_batch_of_which_nothing_is_kept_is_an_error(house: Any) -> None:
    """Still with the fate of each."""
    answer = await house.client.post("/upload/batch", **form(("file", "../a", b""), ("file", "/b", b"")))
    told = answer.json()
    assert (answer.status_code, told["message"], told["error"]) == (400, "error", "no_file_stored")
    assert [file["status"] for file in told["files"]] == ["error", "error"]


@pytest.mark.parametrize("path", ["/upload", "/upload/batch"])
@pytest.mark.parametrize(
    "sent",
    [
        form(),
        form(("kind", None, b"user")),
        form(("file", "a", b"x"), end=b""),
        form(("file", "a", b"x"), end=b"--B"),
        {"content": b"--B\r\nno colon here\r\n\r\nx", "headers": form()["headers"]},
        {"content": b"hello", "headers": form()["headers"]},
        {"content": b"", "headers": form()["headers"]},
        {"content": b"{}", "headers": {"content-type": "application/json"}},
        {"content": form(("file", "a", b"x"))["content"], "headers": {"content-type": "multipart/form-data"}},
        {"content": b"--B\r\n" + b"a" * 9000, "headers": form()["headers"]},
        form(("file", "a", b"x"), ("kind", None, b"user")),
        form(("version", None, b"seven"), ("file", "a", b"x")),
        form(("read_only", None, b"maybe"), ("file", "a", b"x")),
        form(("kind", None, b"k" * 2000), ("file", "a", b"x")),
    ],
)
async def test_a_form_that_is_broken_or_incomplete_leaves_nothing(
    house: Any, file_store: Any, path: str, sent: dict[str, Any]
) -> None:
    """400 with a reason, also when the first file was whole already."""
    answer = await house.client.post(path, **sent)
    assert answer.status_code == 400, answer.text
    assert {"error", "message"} <= set(answer.json())
    assert await stored_anywhere(house, file_store) == []


async def test_what_is_said_of_a_file_is_kept_with_it(house: Any) -> None:
    """Kind, id, version and whether it is read-only; the media type too."""
    about = [("kind", None, b"skill"), ("id", None, b"sk-1"), ("version", None, b"7")]
    sent = form(*about, ("read_only", None, b"true"), ("unknown", None, b"?"), ("file", "s/SKILL.md", b"#"))
    told = (await house.client.post("/upload/batch", **sent)).json()
    [entry] = await listed(house, told["session_id"])
    assert (entry["kind"], entry["resource_id"], entry["version"]) == ("skill", "sk-1", 7)
    seen = await house.client.get(f"/sessions/{told['session_id']}/objects/{entry['id']}")
    assert seen.json()["readOnly"] is True


async def test_a_body_beyond_all_files_is_cut_off_naming_the_limit(make_house: Any, file_store: Any) -> None:
    """An endless one cannot be read to its end."""
    house = await make_house(bounds=Bounds(files_bytes_max=3000))

    async def endless() -> Any:
        yield form(("file", "a", b"x"))["content"].removesuffix(b"--B--\r\n")
        while True:
            yield b"x" * 65536

    answer = await house.client.post("/upload/batch", content=endless(), headers=form()["headers"])
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert "MAX_TOTAL_FILE_SIZE_MB" in answer.json()["message"]
    assert await stored_anywhere(house, file_store) == []


async def test_who_falls_silent_in_the_middle_is_told_so_and_leaves_nothing(
    make_house: Any, file_store: Any
) -> None:
    """A slow client may take its time between bytes, but not for ever."""
    house = await make_house(body_timeout_s=0.05)

    async def stalling() -> Any:
        yield form(("file", "a", b"x"))["content"].removesuffix(b"--B--\r\n")
        await asyncio.Event().wait()

    answer = await house.client.post("/upload", content=stalling(), headers=form()["headers"])
    assert (answer.status_code, answer.json()["error"]) == (408, "request_timeout")
    assert await stored_anywhere(house, file_store) == []


@pytest.mark.parametrize("declared", [b"5000", b"chunked"])
async def test_an_upload_cut_in_the_middle_leaves_nothing(
    make_house: Any, file_store: Any, keys: tuple[str, str], declared: bytes
) -> None:
    """Over a real connection, with more promised than sent, after one whole file."""
    house = await make_house(served=True)
    body = form(("file", "whole", b"x" * 500), ("file", "half", b"y" * 500), end=b"")["content"][:-100]
    length = b"content-length: " + declared
    if declared == b"chunked":
        length, body = b"transfer-encoding: chunked", b"%x\r\n%s\r\n" % (len(body), body)
    head = [b"POST /upload/batch HTTP/1.1", b"host: edge", b"x-api-key: " + keys[0].encode(), length]
    head += [b"content-type: multipart/form-data; boundary=B", b"", b""]
    host, port = house.base_url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\r\n".join(head) + body)
    await writer.drain()
    async with asyncio.timeout(20):
        while len(await stored_anywhere(house, file_store)) < 1:
            await asyncio.sleep(0.01)
        writer.close()
        while await stored_anywhere(house, file_store):
            await asyncio.sleep(0.01)


async def test_while_the_store_is_away_uploads_are_asked_to_come_back(
    make_house: Any, file_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After, whatever part of it is away."""
    house = await make_house()

    async def away(*_: Any) -> int:
        raise Unavailable("The bucket is gone.")

    monkeypatch.setattr(file_store.objects, "put", away)
    for path in ("/upload", "/upload/batch"):
        answer = await house.client.post(path, **form(("file", "a", b"x")))
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert answer.headers["retry-after"]


async def test_every_upload_is_a_session_of_its_own(house: Any) -> None:
    """Two uploads of one name are two files."""
    sent = form(("file", "a", b"x"))
    first, second = [(await house.client.post("/upload", **sent)).json() for _ in range(2)]
    assert first["session_id"] != second["session_id"]


async def test_no_more_of_a_file_is_held_than_one_piece_off_the_network(
    make_house: Any, file_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has taken each piece before the next is read."""
    house = await make_house(bounds=Bounds(files_bytes_max=1 << 30))
    sent = taken = most = 0

    async def pieces() -> Any:
        nonlocal sent, most
        yield form(("file", "a", b""))["content"].removesuffix(b"\r\n--B--\r\n")
        for _ in range(100):
            sent += 65536
            most = max(most, sent - taken)
            yield b"x" * 65536
        yield b"\r\n--B--\r\n"

    async def take(_: str, content: Any) -> int:
        nonlocal taken
        async for chunk in content:
            taken += len(chunk)
        return taken

    monkeypatch.setattr(file_store.objects, "put", take)
    monkeypatch.setattr(file_store.records, "quota", replace(file_store.records.quota, **UNBOUNDED))
    answer = await house.client.post("/upload", content=pieces(), headers=form()["headers"])
    assert (answer.status_code, taken) == (200, 100 * 65536)
    assert most <= 2 * 65536


UNBOUNDED = {"file_bytes_max": 1 << 30, "session_bytes_max": 1 << 30}


async def test_a_client_that_only_listens_when_it_has_said_everything_gets_its_answer(
    make_house: Any, keys: tuple[str, str]
) -> None:
    """What is left of a refused file is taken off the wire; a broken connection would look like no server."""
    house = await make_house(served=True, bounds=Bounds(files_bytes_max=16 << 20))
    sent = form(("file", "big", b"x" * (8 << 20)))

    def upload() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(house.base_url.removeprefix("http://"), timeout=30)
        headers = {**sent["headers"], "x-api-key": keys[0]}
        connection.request("POST", "/upload", body=sent["content"], headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    status, body = await asyncio.to_thread(upload)
    assert status == 413
    assert b"file_too_large" in body
