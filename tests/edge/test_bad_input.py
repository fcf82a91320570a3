"""Whatever is wrong with a request, the answer is 400, 413 or 422 and names the field; never a 500."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from schemas.validate import Bounds

RUN: dict[str, Any] = {"language": "py", "code": "x"}
BOUNDS = Bounds(
    code_bytes_max=1000,
    stdin_bytes_max=100,
    args_max=3,
    args_bytes_max=50,
    env_max=3,
    env_bytes_max=50,
    files_max=3,
    file_bytes_max=100,
    files_bytes_max=150,
    file_name_length_max=40,
    tools_max=2,
)


def file(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "content": "x", **more}


def encoded(size: int) -> str:
    return base64.b64encode(b"x" * size).decode()


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"language": "cobol"}, 422, "language"),
    ({"language": ""}, 422, "language"),
    ({"language": None}, 422, "language"),
    ({"language": ["py"]}, 422, "language"),
    ({"code": ""}, 422, "code"),
    ({"code": " \n\t"}, 422, "code"),
    ({"code": "a\0b"}, 422, "code"),
    ({"code": "x" * 1001}, 413, "code"),
    ({"code": "é" * 501}, 413, "code"),
    ({"code": 7}, 422, "code"),
    ({"code": None}, 422, "code"),
    ({"id": ""}, 422, "id"),
    ({"id": "a b"}, 422, "id"),
    ({"id": "a/b"}, 422, "id"),
    ({"id": "x" * 129}, 422, "id"),
    ({"id": "ü"}, 422, "id"),
    ({"id": "a\n"}, 422, "id"),
    ({"id": 7}, 422, "id"),
    ({"session_id": "../other"}, 422, "session_id"),
    ({"session_id": "x" * 129}, 422, "session_id"),
    ({"type": "cancel_execution"}, 422, "type"),
    ({"type": 7}, 422, "type"),
    ({"args": "one"}, 422, "args"),
    ({"args": [1]}, 422, "args[0]"),
    ({"args": ["a\0"]}, 422, "args[0]"),
    ({"args": ["a"] * 4}, 422, "args"),
    ({"args": ["a" * 51]}, 413, "args"),
    ({"stdin": "x" * 101}, 413, "stdin"),
    ({"stdin": 7}, 422, "stdin"),
    ({"env": {"": "x"}}, 422, "env."),
    ({"env": {"A=B": "x"}}, 422, "env.A=B"),
    ({"env": {"A": "\0"}}, 422, "env.A"),
    ({"env": {"A": 7}}, 422, "env[...]"),
    ({"env": dict.fromkeys("ABCD", "")}, 422, "env"),
    ({"env": {"A": "x" * 60}}, 413, "env"),
    ({"env": []}, 422, "env"),
    ({"files": [file("../x")]}, 422, "files[0].name"),
    ({"files": [file("a/../x")]}, 422, "files[0].name"),
    ({"files": [file("/etc/passwd")]}, 422, "files[0].name"),
    ({"files": [file("a\0b")]}, 422, "files[0].name"),
    ({"files": [file("a\\b")]}, 422, "files[0].name"),
    ({"files": [file("")]}, 422, "files[0].name"),
    ({"files": [file(".")]}, 422, "files[0].name"),
    ({"files": [file("a//b")]}, 422, "files[0].name"),
    ({"files": [file("x" * 41)]}, 422, "files[0].name"),
    ({"files": [file("/".join("abcdefghijk"))]}, 422, "files[0].name"),
    ({"files": [file("x"), file("x")]}, 422, "files[1].name"),
    ({"files": [file("x"), file("x/y")]}, 422, "files[1].name"),
    ({"files": [file("x/y"), file("x")]}, 422, "files[1].name"),
    ({"files": [file(str(number)) for number in range(4)]}, 422, "files"),
    ({"files": [{"name": "x"}]}, 422, "files[0]"),
    ({"files": [{"name": "x", "file_id": "f"}]}, 422, "files[0]"),
    ({"files": [file("x", file_id="f", session_id="s")]}, 422, "files[0]"),
    ({"files": [{"name": "x", "file_id": "f", "session_id": "s"}]}, 422, "files[0]"),
    ({"files": [{"name": "x", "file_id": "../f", "session_id": "s"}]}, 422, "files[0]"),
    ({"files": [file("x", content="%%", encoding="base64")]}, 422, "files[0].content"),
    ({"files": [file("x", encoding="hex")]}, 422, "files[0].encoding"),
    ({"files": [file("x", content=7)]}, 422, "files[0].content"),
    ({"files": [{"content": "x"}]}, 422, "files[0]"),
    ({"files": [file("x", content="x" * 101)]}, 413, "files[0].content"),
    ({"files": [file("x", content=encoded(101), encoding="base64")]}, 413, "files[0].content"),
    ({"files": [file(name, content="x" * 80) for name in "ab"]}, 413, "files"),
    ({"files": {"name": "x"}}, 422, "files"),
    ({"limits": {"timeout_s": -1}}, 422, "limits.timeout_s"),
    ({"limits": {"timeout_s": 0}}, 422, "limits.timeout_s"),
    ({"limits": {"timeout_s": 1e300}}, 422, "limits.timeout_s"),
    ({"limits": {"timeout_s": "30"}}, 422, "limits.timeout_s"),
    ({"limits": {"memory_bytes_max": -1}}, 422, "limits.memory_bytes_max"),
    ({"limits": {"memory_bytes_max": 1.5}}, 422, "limits.memory_bytes_max"),
    ({"limits": {"memory_bytes_max": 10**30}}, 422, "limits.memory_bytes_max"),
    ({"limits": {"cpus": 0}}, 422, "limits.cpus"),
    ({"limits": {"pids_max": 0}}, 422, "limits.pids_max"),
    ({"limits": {"output_bytes_max": -1}}, 422, "limits.output_bytes_max"),
    ({"limits": []}, 422, "limits"),
    ({"deadline": "tomorrow"}, 422, "deadline"),
    ({"deadline": "2026-01-01T00:00:00"}, 422, "deadline"),
    ({"deadline": 7}, 422, "deadline"),
    ({"retry": "sometimes"}, 422, "retry"),
    ({"keep_files": "yes"}, 422, "keep_files"),
    ({"check_types": "yes"}, 422, "check_types"),
    ({"check_types": True}, 422, "check_types"),
    ({"tools": [{"name": ""}]}, 422, "tools[0].name"),
    ({"tools": [{"name": "a"}, {"name": "a"}]}, 422, "tools[1].name"),
    ({"tools": [{"name": str(number)} for number in range(3)]}, 422, "tools"),
    ({"tools": [{}]}, 422, "tools[0]"),
    ({"trace": {"traceparent": 7}}, 422, "trace[...]"),
]


@pytest.mark.parametrize(("change", "status", "field"), WRONG, ids=lambda value: str(value)[:40])
async def test_a_wrong_field_is_refused_by_name(
    make_house: Any, change: dict[str, Any], status: int, field: str
) -> None:
    """With a sentence for people, and nothing is published."""
    house = await make_house(bounds=BOUNDS, handled=False)
    answer = await house.client.post("/executions", content=json.dumps({**RUN, **change}))
    assert answer.status_code == status, answer.text
    assert answer.json()["field"].startswith(field), answer.text
    assert answer.json()["message"].endswith(".")
    assert not house.broker.entries


@pytest.mark.parametrize("field", ["language", "code"])
async def test_a_missing_field_is_named(house: Any, field: str) -> None:
    """There are only two that must be there."""
    body = {name: value for name, value in RUN.items() if name != field}
    answer = await house.client.post("/executions", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_limits_that_were_broken_are_told(make_house: Any) -> None:
    """As a number, or as the list of what is allowed."""
    house = await make_house(bounds=BOUNDS)
    long = await house.client.post("/executions", json={**RUN, "code": "x" * 1001})
    assert long.json()["limit"] == 1000
    unknown = await house.client.post("/executions", json={**RUN, "language": "cobol"})
    assert "py" in unknown.json()["limit"]


UNREADABLE = [
    b"",
    b"{",
    b'{"language":"py","code":"x"',
    b"not json",
    b"\xff\xfe",
    b'{"language":"py","code":"\xff"}',
    b'{"language":"py","code":"\\ud800"}',
    b'{"language":"py","code":"x","limits":{"timeout_s":NaN}}',
    b'{"language":"py","code":"x","limits":{"timeout_s":Infinity}}',
    b'{"language":"py","code":"x"} {}',
    b"[]",
    b"null",
    b"7",
    b'"text"',
    b"[" * 100_000,
    b'{"language":"py","code":"x","more":' + b"[" * 100_000,
    b'{"language":"py","code":"x","tools":[{"name":"t","parameters":' + b'{"a":' * 100_000,
]


@pytest.mark.parametrize(
    "path", ["/executions", "/exec", "/executions/s/input", "/executions/s/tool-results"]
)
@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:40]))
async def test_a_body_that_is_no_json_object_is_400(
    make_house: Any, scripts: Any, path: str, body: bytes
) -> None:
    """Truncated, nested too deep, not UTF-8, NaN."""
    house = await make_house()
    house.handler.scripts["slow"] = scripts["until_cancelled"]
    await house.client.post("/executions", json={"language": "py", "code": "slow", "id": "s"})
    answer = await house.client.post(path, content=body)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.json()["message"]
    assert not house.handler.heard


async def test_a_number_out_of_range_is_named(house: Any) -> None:
    """1e999 is JSON, but no number we can hold."""
    body = b'{"language":"py","code":"x","limits":{"timeout_s":1e999}}'
    answer = await house.client.post("/executions", content=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "limits.timeout_s")


@pytest.mark.parametrize("key", ["a b", "", "x" * 129, '"', "a/b", "ü"])
async def test_an_idempotency_key_must_be_fit_to_be_an_id(house: Any, key: str) -> None:
    """Named as the header it is."""
    answer = await house.client.post("/executions", json=RUN, headers={"idempotency-key": key.encode()})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


async def test_an_idempotency_key_beside_another_id_is_refused(house: Any) -> None:
    """Guessing which one counts would be worse."""
    answer = await house.client.post("/executions", json={**RUN, "id": "a"}, headers={"idempotency-key": "b"})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


@pytest.mark.parametrize("path", ["/executions", "/exec", "/v1//exec"])
async def test_a_body_that_is_declared_too_large_is_refused_before_it_is_read(
    make_house: Any, path: str
) -> None:
    """Not a byte of it is taken."""
    house = await make_house(body_bytes_max=100)
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        taken += 1
        yield b"x" * 101

    answer = await house.client.post(f"http://edge{path}", content=body(), headers={"content-length": "101"})
    assert (answer.status_code, answer.json()["field"], answer.json()["limit"]) == (413, "body", 100)
    assert taken <= 1


@pytest.mark.parametrize("length", ["-1", "x", "1.5", "9" * 30, "9" * 5000, "0x10"])
async def test_a_length_that_is_no_number_is_400(house: Any, length: str) -> None:
    """For servers that let it through."""
    answer = await house.client.post("/executions", content=b"{}", headers={"content-length": length})
    assert answer.status_code == 400


async def test_a_body_that_grows_too_large_is_refused_while_it_comes(make_house: Any) -> None:
    """Chunked bodies declare nothing."""
    house = await make_house(body_bytes_max=100)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 10

    answer = await house.client.post("/executions", content=body())
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
