"""Nobody gets in without a key, and everybody only into their own rooms."""

import base64
from typing import Any

import pytest
from starlette.routing import Route
from structlog.testing import capture_logs

from edge.authentication import is_open
from edge.from_settings import refuse_default_key
from edge.keys import Keyring
from infra.errors import Misconfigured
from infra.settings import load_settings

RUN = {"lang": "py", "code": "print(1)"}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


async def test_every_route_that_is_not_declared_open_asks_for_a_key(house: Any) -> None:
    """A new route is closed unless somebody opens it on purpose."""
    closed = [route for route in house.app.routes if isinstance(route, Route) and not is_open(route.path)]
    assert len(closed) >= 9
    for route in closed:
        for method in route.methods - {"HEAD"}:
            path = route.path.replace("{id}", "some-id")
            answer = await house.client.request(method, path, headers={"x-api-key": "wrong"}, content=b"{}")
            assert answer.status_code == 401, (method, path)
            assert set(answer.json()) == {"error", "message"}


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics", "/v1/health"])
async def test_open_routes_need_no_key(house: Any, path: str) -> None:
    """Probes and scrapers carry none."""
    del house.client.headers["x-api-key"]
    assert (await house.client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-KEY": "{key}"},
        {"x-api-key": " {key} "},
        {"authorization": "Bearer {key}"},
        {"Authorization": "bearer  {key}"},
        {"authorization": "basic:{key}"},
        {"authorization": "basic:{key}:"},
        {"authorization": "basic:{key}:ignored"},
        {"authorization": "basic::{key}"},
        {"authorization": "Bearer {key}", "x-api-key": "wrong"},
    ],
)
async def test_the_key_is_taken_from_any_header_that_clients_use(
    house: Any, keys: tuple[str, str], headers: dict[str, str]
) -> None:
    """Header in any case, Bearer, Basic with and without a colon, and the good one of two."""
    del house.client.headers["x-api-key"]
    filled = {name: value.format(key=keys[0]) for name, value in headers.items()}
    sent = {
        name: basic(value.removeprefix("basic:")) if value.startswith("basic:") else value
        for name, value in filled.items()
    }
    assert (await house.client.get("/languages", headers=sent)).status_code == 200


@pytest.mark.parametrize(
    "value", ["Basic", "Basic !!!", "Basic Og==", "Bearer", "Bearer ", "Digest x", "", "Basic \xff\xfe"]
)
async def test_a_broken_authorization_header_is_a_wrong_key(house: Any, value: str) -> None:
    """Never an error of ours."""
    del house.client.headers["x-api-key"]
    answer = await house.client.get("/languages", headers={"authorization": value.encode("latin-1")})
    assert answer.status_code == 401


@pytest.mark.parametrize("name", ["LIBRECHAT_CODE_API_KEY", "apiKey", "api_key"])
async def test_older_clients_put_the_key_into_the_body_of_exec_and_it_goes_no_further(
    make_house: Any, keys: tuple[str, str], name: str
) -> None:
    """It is neither published nor logged."""
    house = await make_house(access_logs=True, handled=False, sync_wait_s_max=0.01)
    del house.client.headers["x-api-key"]
    with capture_logs() as logs:
        answer = await house.client.post("/exec", json={**RUN, name: keys[0]})
    assert answer.status_code == 504, "it was let in, and nobody runs it"
    [entry] = house.broker.entries.values()
    assert keys[0].encode() not in entry.body
    assert logs
    assert keys[0] not in repr(logs)


@pytest.mark.parametrize("body", [{"api_key": "wrong"}, {"api_key": 7}, {"apiKey": None}, {}])
async def test_a_wrong_key_in_the_body_is_refused(house: Any, body: dict[str, Any]) -> None:
    """Whatever its type."""
    del house.client.headers["x-api-key"]
    answer = await house.client.post("/exec", json={**RUN, **body})
    assert answer.status_code == 401


async def test_who_has_no_key_is_not_told_what_is_wrong_with_the_body(house: Any) -> None:
    """The key comes first."""
    del house.client.headers["x-api-key"]
    assert (await house.client.post("/exec", content=b"{not json")).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/executions/mine"),
        ("GET", "/executions/mine/events"),
        ("DELETE", "/executions/mine"),
        ("POST", "/executions/mine/input"),
        ("POST", "/executions/mine/tool-results"),
    ],
)
async def test_executions_of_another_tenant_are_unknown(
    house: Any, keys: tuple[str, str], method: str, path: str
) -> None:
    """In the same words as ones that never were."""
    await house.client.post("/executions", json={"id": "mine", "language": "py", "code": "x"})
    other = {"x-api-key": keys[1]}
    foreign = await house.client.request(method, path, headers=other, content=b"{}")
    unknown = await house.client.request(
        method, path.replace("mine", "nobodys"), headers=other, content=b"{}"
    )
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json() == unknown.json()


async def test_the_key_decides_the_tenant_not_the_body(house: Any, keys: tuple[str, str]) -> None:
    """Nor can a client of HTTP have its result sent to a stream of its choice."""
    body = {"language": "py", "code": "x", "tenant": "default", "reply_to": "millrace:requests"}
    await house.client.post("/executions", json=body, headers={"x-api-key": keys[1], "prefer": "wait=10"})
    [command] = house.handler.seen
    assert command.tenant.startswith("key-")
    assert keys[1] not in command.tenant
    assert command.reply_to is None


async def test_the_header_that_carries_the_key_can_be_renamed(make_house: Any, keys: tuple[str, str]) -> None:
    """Then the old name counts no more."""
    house = await make_house(key_header="X-My-Key")
    assert (await house.client.get("/languages")).status_code == 401
    assert (await house.client.get("/languages", headers={"x-my-key": keys[0]})).status_code == 200


async def test_a_trusted_network_needs_no_key_but_a_wrong_one_is_still_wrong(make_house: Any) -> None:
    """And a page in somebody's browser is not the network."""
    house = await make_house(trusted_network=True, cors_origins=("https://chat.example.org",))
    del house.client.headers["x-api-key"]
    get = house.client.get
    assert (await get("/languages")).status_code == 200
    assert (await get("/languages", headers={"x-api-key": "wrong"})).status_code == 401
    assert (await get("/languages", headers={"origin": "https://evil.example.org"})).status_code == 401
    assert (await get("/languages", headers={"origin": "https://chat.example.org"})).status_code == 200


async def test_a_refused_key_is_logged_without_the_key(house: Any) -> None:
    """For whoever watches the logs."""
    with capture_logs() as logs:
        await house.client.get("/languages", headers={"x-api-key": "guess-number-one"})
    assert [entry["event"] for entry in logs] == ["unauthorized"]
    assert "guess-number-one" not in repr(logs)


def test_every_further_key_is_a_tenant_of_its_own_and_keeps_its_name() -> None:
    """Whatever the order of the list; an empty key never opens anything."""
    one, two = Keyring("a", ["b", "c", ""]), Keyring("a", ["c", "b"])
    assert one.tenant_of([b"a"]) == "default"
    assert one.tenant_of([b"b"]) == two.tenant_of([b"b"]) != one.tenant_of([b"c"])
    assert one.tenant_of([b""]) is None
    assert Keyring("").tenant_of([b""]) is None


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ({"API_HOST": "0.0.0.0"}, True),
        ({"API_HOST": "0.0.0.0", "API_KEY": "long-enough-secret", "API_KEYS": "test-api-key"}, True),
        ({"API_HOST": "0.0.0.0", "API_KEY": "a-secret-of-its-own"}, False),
        ({"API_HOST": "127.0.0.1"}, False),
        ({"API_HOST": "0.0.0.0", "API_DEBUG": "true"}, False),
    ],
)
def test_the_default_key_is_for_this_machine_only(environment: dict[str, str], refused: bool) -> None:
    """A service that others can reach does not start with it, unless someone debugs."""
    settings = load_settings(environment)
    if refused:
        with pytest.raises(Misconfigured, match="API_KEY"):
            refuse_default_key(settings)
    else:
        refuse_default_key(settings)
