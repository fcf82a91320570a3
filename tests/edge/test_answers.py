"""What holds for every answer, above all for the bad ones."""

import re
from typing import Any

import pytest
from structlog.testing import capture_logs

from infra.errors import Unavailable

RUN = {"language": "py", "code": "x"}


class Broken:
    """A publisher with a fault of ours in it."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError("secret detail")


class Away:
    """A broker that cannot be reached."""

    def follow(self, *_: Any) -> Any:
        from contextlib import AsyncExitStack

        return AsyncExitStack()

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: Any, **__: Any) -> Any:
            raise Unavailable("Redis does not answer.", retry_after_s=2.5)

        return refuse


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/nowhere", 404),
        ("PUT", "/executions", 405),
        ("GET", "/executions/none", 404),
        ("POST", "/exec", 400),
        ("GET", "/", 404),
    ],
)
async def test_every_answer_names_its_request(house: Any, method: str, path: str, status: int) -> None:
    """With the client's own id, or a new one; errors are JSON of one shape."""
    answer = await house.client.request(method, path, headers={"x-request-id": "mine-1"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (status, "mine-1")
    assert re.fullmatch(r"[\w-]{21}", (await house.client.request(method, path)).headers["x-request-id"])
    if status >= 400:
        assert {"error", "message"} <= set(answer.json())


@pytest.mark.parametrize("given", ["a b", "x" * 129, "<script>", ""])
async def test_a_request_id_that_is_not_fit_to_be_echoed_is_replaced(house: Any, given: str) -> None:
    """Logs and headers stay clean."""
    answer = await house.client.get("/health", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] != given


async def test_a_fault_of_ours_is_logged_and_shows_nothing(make_house: Any) -> None:
    """500, no trace, no detail."""
    house = await make_house(publisher=Broken())
    with capture_logs() as logs:
        answer = await house.client.post("/executions", json=RUN)
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "x-request-id" in answer.headers
    assert [entry["event"] for entry in logs] == ["internal_error"]
    assert isinstance(logs[0]["exc_info"], ZeroDivisionError)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/exec"), ("POST", "/executions"), ("GET", "/executions/a"), ("GET", "/executions/a/events")],
)
async def test_a_broker_that_is_away_is_503_with_when_to_come_back(
    make_house: Any, method: str, path: str
) -> None:
    """In the header and, for clients that read bodies only, in the body."""
    house = await make_house(publisher=Away())
    answer = await house.client.request(method, path, json={**RUN, "lang": "py"})
    assert answer.status_code == 503
    assert (answer.headers["retry-after"], answer.json()["retry_after_seconds"]) == ("3", 3)
    assert answer.json()["error"] == "unavailable"


async def test_browsers_are_answered_when_the_operator_allows_their_page(make_house: Any) -> None:
    """Errors too, else the page could not read them; preflights carry no key."""
    house = await make_house(cors_origins=("https://chat.example.org",))
    origin = {"origin": "https://chat.example.org"}
    preflight = await house.client.options(
        "/executions",
        headers={
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-api-key,prefer",
            "x-api-key": "",
        },
    )
    assert preflight.status_code == 200
    refused = await house.client.get("/nowhere", headers={**origin, "x-api-key": "wrong"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://chat.example.org"
    other = await house.client.get("/health", headers={"origin": "https://evil.example.org"})
    assert "access-control-allow-origin" not in other.headers


async def test_without_cors_no_page_is_answered(house: Any) -> None:
    """The default."""
    answer = await house.client.get("/health", headers={"origin": "https://chat.example.org"})
    assert "access-control-allow-origin" not in answer.headers


async def test_one_line_is_logged_for_each_request(make_house: Any, keys: tuple[str, str]) -> None:
    """Without keys, bodies and query strings."""
    house = await make_house(access_logs=True)
    with capture_logs() as logs:
        await house.client.get("/v1/languages?token=abc")
    [line] = logs
    assert (line["method"], line["path"], line["status"], line["tenant"]) == (
        "GET",
        "/v1/languages",
        200,
        "default",
    )
    assert keys[0] not in repr(line)
    assert "abc" not in repr(line)
