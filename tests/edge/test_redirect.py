"""Plain HTTP beside HTTPS: where it sends whom."""

import httpx
import pytest

from edge.redirect import create_redirect


def ask(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_redirect(port)), trust_env=False)


@pytest.mark.parametrize(
    ("port", "asked", "sent_to"),
    [
        (8443, "http://a.example:8000/executions/x?after=1&b=%20", "https://a.example:8443/executions/x?after=1&b=%20"),
        (443, "http://a.example/", "https://a.example/"),
        (8443, "http://127.0.0.1:8000/v1/docs", "https://127.0.0.1:8443/v1/docs"),
        (443, "http://[::1]:8000/docs", "https://[::1]/docs"),
        (443, "http://a.example//evil.example/%2e%2e/", "https://a.example//evil.example/%2e%2e/"),
    ],
)  # fmt: skip
async def test_everybody_is_sent_to_the_same_place_encrypted(port: int, asked: str, sent_to: str) -> None:
    """Path and question as they came, and never to another host."""
    answer = await ask(port).post(asked, content=b"x")
    assert (answer.status_code, answer.headers["location"]) == (308, sent_to)
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("host", ["", "a b", "a/b", "user@host", "a:b:c", "x:123456", "[::1", "a\\b"])
async def test_a_host_that_is_none_is_refused(host: str) -> None:
    """It would be copied into the answer."""
    answer = await ask(443).get("http://a/", headers={"host": host})
    assert (answer.status_code, answer.json()["field"]) == (400, "host")
    assert "location" not in answer.headers
