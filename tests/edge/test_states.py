"""Saved Python state over HTTP."""

import hashlib

import httpx
import pytest

from infra.errors import Unavailable
from infra.stores.state_archive import StateArchive

DATA = b"millrace-state" + bytes(range(256)) * 2000
ETAG = f'"{hashlib.sha256(DATA).hexdigest()}"'
PLACE = "/state/a-conversation"


@pytest.fixture
def other(keys):
    """Headers of another owner."""
    return {"x-api-key": keys[1]}


async def put(house, data: bytes = DATA, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await house.client.put(PLACE, content=data, headers=named)


async def test_what_was_put_is_got(house) -> None:
    answer = await put(house)
    assert (answer.status_code, answer.headers["etag"]) == (200, ETAG)
    got = await house.client.get(PLACE)
    assert (got.status_code, got.content, got.headers["etag"]) == (200, DATA, ETAG)
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-length"] == str(len(DATA))


async def test_the_same_under_v1(house) -> None:
    await put(house)
    assert (await house.client.get(f"/v1{PLACE}")).content == DATA


async def test_head_is_get_without_the_bytes(house) -> None:
    await put(house)
    got, head = await house.client.get(PLACE), await house.client.head(PLACE)
    names = ("etag", "content-length", "content-type", "last-modified")
    assert (head.status_code, head.content) == (200, b"")
    assert [head.headers[name] for name in names] == [got.headers[name] for name in names]


async def test_info_says_what_there_is(house, states) -> None:
    await put(house)
    info = (await house.client.get(f"{PLACE}/info")).json()
    assert (info["size_bytes"], info["tier"], f'"{info["etag"]}"') == (len(DATA), "hot", ETAG)
    assert info["saved_at"] < info["expires_at"]
    await StateArchive(states, after_s=0, every_s=1).once()
    assert (await house.client.get(f"{PLACE}/info")).json()["tier"] == "archived"
    assert (await house.client.get(PLACE)).content == DATA
    assert (await house.client.get(f"{PLACE}/info")).json()["tier"] == "archived", "looking is no use"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_no_state_is_404(house, method) -> None:
    answer = await house.client.request(method, PLACE)
    assert answer.status_code == 404
    if method != "HEAD":
        assert answer.json()["error"] == "unknown_state"


@pytest.mark.parametrize("name", ["a.b", "a%20b", "x" * 129, "%00"])
async def test_what_is_no_session_id_is_404(house, name) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert (await house.client.request(method, f"/state/{name}", content=b"x")).status_code == 404


async def test_a_client_that_has_it_gets_304(house) -> None:
    await put(house)
    for tags in (ETAG, f'"other", {ETAG}', f"W/{ETAG}", "*"):
        for method in ("GET", "HEAD"):
            answer = await house.client.request(method, PLACE, headers={"if-none-match": tags})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", ETAG)
    assert (await house.client.get(PLACE, headers={"if-none-match": '"other"'})).status_code == 200


async def test_only_the_expected_state_is_replaced(house) -> None:
    await put(house)
    new = b"new"
    for tags in ('"other"', f"W/{ETAG}", '""'):
        answer = await put(house, new, if_match=tags)
        assert (answer.status_code, answer.json()["error"]) == (412, "state_changed")
    assert (await house.client.get(PLACE)).content == DATA
    assert (await put(house, new, if_match=ETAG)).status_code == 200
    assert (await put(house, DATA, if_match=ETAG)).status_code == 412
    assert (await put(house, DATA, if_match="*")).status_code == 200


async def test_if_match_needs_a_state(house) -> None:
    assert (await put(house, if_match="*")).status_code == 412
    assert (await put(house, if_none_match="*")).status_code == 200
    assert (await put(house, b"x", if_none_match="*")).status_code == 412


async def test_get_and_delete_hold_if_match_too(house) -> None:
    await put(house)
    other = {"if-match": '"other"'}
    assert (await house.client.get(PLACE, headers=other)).status_code == 412
    assert (await house.client.delete(PLACE, headers=other)).status_code == 412
    assert (await house.client.delete(PLACE, headers={"if-match": ETAG})).status_code == 204


async def test_deleted_is_gone_wherever_it_was(house, states) -> None:
    await put(house)
    await StateArchive(states, after_s=0, every_s=1).once()
    assert (await house.client.delete(PLACE)).status_code == 204
    assert (await house.client.get(PLACE)).status_code == 404
    assert (await house.client.delete(PLACE)).status_code == 404


async def test_another_owner_sees_and_touches_nothing(house, other) -> None:
    await put(house)
    for method in ("GET", "HEAD", "DELETE", "PUT"):
        answer = await house.client.request(method, PLACE, headers=other, content=b"theirs")
        assert answer.status_code == 404, method
    assert (await house.client.get(f"{PLACE}/info", headers=other)).status_code == 404
    assert (await house.client.get(PLACE)).content == DATA


async def test_without_a_key_there_is_no_way_in(house) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await house.client.request(method, PLACE, headers={"x-api-key": ""})
        assert answer.status_code == 401


async def test_too_much_is_413_and_the_setting_is_named(make_house) -> None:
    house = await make_house(state_bytes_max=1000)
    assert (await put(house, b"x" * 1000)).status_code == 200
    answer = await put(house, b"x" * 1001)
    assert (answer.status_code, answer.json()["limit"]) == (413, 1000)
    assert "STATE_MAX_SIZE_MB" in answer.json()["message"]

    async def undeclared():
        for _ in range(20):
            yield b"x" * 100

    assert (await house.client.put(PLACE, content=undeclared())).status_code == 413
    assert len((await house.client.get(PLACE)).content) == 1000


async def test_nothing_is_no_state(house) -> None:
    answer = await put(house, b"")
    assert (answer.status_code, answer.json()["field"]) == (422, "body")


async def test_while_the_store_is_away_it_is_503(house, states, monkeypatch) -> None:
    async def away(*_):
        raise Unavailable("The store is away.")

    monkeypatch.setattr(states, "read", away)
    answer = await house.client.get(PLACE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
