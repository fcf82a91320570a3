"""Native sessions over HTTP: opened, listed, shown, ended, and nobody else's."""

import asyncio
from datetime import datetime

import msgspec
import pytest

from schemas.commands import EndSession, RunCode
from schemas.wire import decode_run_code
from tests.edge.conftest import OTHER_KEY, House

THEIRS = {"x-api-key": OTHER_KEY}


async def open_session(house: House, **headers: str) -> dict[str, str]:
    answer = await house.client.post("/sessions", headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_session_is_opened_with_an_id_and_a_place(house: House) -> None:
    """201, where it is, and until when."""
    answer = await house.client.post("/v1/sessions")
    session = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/sessions/{session['id']}"
    assert len(session["id"]) == 32
    assert datetime.fromisoformat(session["expires_at"]) > datetime.fromisoformat(session["created_at"])
    shown = await house.client.get(answer.headers["location"])
    assert (shown.status_code, shown.json()) == (200, session)


async def test_one_too_many_is_refused_with_the_limit(house: House) -> None:
    """By opening it, and by naming a new one in a run; old ones work on."""
    sessions = [await open_session(house) for _ in range(3)]
    body = {"language": "py", "code": "x", "session_id": "one-more"}
    for answer in (await house.client.post("/sessions"), await house.client.post("/executions", json=body)):
        assert answer.status_code == 409
        refused = answer.json()
        assert (refused["error"], refused["limit"]) == ("too_many_sessions", 3)
        assert "3 sessions" in refused["message"] and "MAX_SESSIONS_PER_ENTITY" in refused["message"]
    body["session_id"] = sessions[0]["id"]
    assert (await house.client.post("/executions", json=body)).status_code == 202


async def test_sessions_are_listed_in_pages(house: House) -> None:
    """The last used first, with where to go on."""
    opened = [(await open_session(house))["id"] for _ in range(3)]
    first = (await house.client.get("/sessions?limit=2")).json()
    second = (await house.client.get(f"/sessions?limit=2&offset={first['next_offset']}")).json()
    assert [session["id"] for session in first["sessions"] + second["sessions"]] == opened[::-1]
    assert (first["total"], first["next_offset"], second["next_offset"]) == (3, 2, None)
    assert (await house.client.get("/sessions", headers=THEIRS)).json()["total"] == 0


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "offset=-1", "limit=", "offset=\u0661"])
async def test_a_page_that_is_none_is_refused_by_name(house: House, query: str) -> None:
    """With the numbers that are good."""
    answer = await house.client.get(f"/sessions?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == query.partition("=")[0]


async def test_a_session_of_somebody_else_is_unknown_everywhere(house: House) -> None:
    """In the same words as one that never was."""
    session = await open_session(house)
    never = await house.client.get("/sessions/never-was")
    for method in ("GET", "DELETE"):
        answer = await house.client.request(method, f"/sessions/{session['id']}", headers=THEIRS)
        assert (answer.status_code, answer.json()) == (404, never.json())
    body = {"language": "py", "code": "x", "session_id": session["id"]}
    answer = await house.client.post("/executions", json=body, headers=THEIRS)
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_session")
    assert (await house.client.get(f"/sessions/{session['id']}")).status_code == 200


async def test_ending_a_session_makes_it_unknown_and_tells_the_handlers(house: House) -> None:
    """204, once; the second time there is none."""
    session = await open_session(house)
    told: asyncio.Queue[object] = asyncio.Queue()
    house.broker.control.append(told.put_nowait)
    assert (await house.client.delete(f"/sessions/{session['id']}")).status_code == 204
    control = await told.get()
    assert control.command == EndSession(session_id=session["id"], tenant="default")  # type: ignore[attr-defined]
    assert (await house.client.get(f"/sessions/{session['id']}")).status_code == 404
    assert (await house.client.delete(f"/sessions/{session['id']}")).status_code == 404


async def test_a_run_opens_the_session_it_names(make_house, sessions) -> None:
    """Under a name of the client's choice; a run without one opens none."""
    house = await make_house(handled=False)
    assert (await house.client.post("/executions", json={"language": "py", "code": "x"})).status_code == 202
    assert (await sessions.listing("default", 0, 10))[0] == 0
    body = {"language": "py", "code": "x", "session_id": "notebook"}
    assert (await house.client.post("/executions", json=body)).status_code == 202
    assert (await house.client.get("/sessions/notebook")).status_code == 200
    published: list[RunCode] = [decode_run_code(entry.body) for entry in house.broker.entries.values()]
    assert [command.session_id for command in published] == [None, "notebook"]


async def test_the_compatible_route_opens_no_native_session(house: House, sessions) -> None:
    """Each of its runs is a session of its own, with an id as chat front ends want them."""
    answer = await house.client.post("/exec", json={"lang": "py", "code": "x"})
    assert len(answer.json()["session_id"]) == 21
    assert (await sessions.listing("default", 0, 10))[0] == 0


async def test_a_run_that_goes_on_from_a_session_of_somebody_else_is_forbidden(house: House) -> None:
    """Whether it was opened natively or is one of files; one's own, and one that nobody knows, are fine."""
    native = (await open_session(house))["id"]
    uploaded = await house.client.post("/upload", files={"file": ("a.txt", b"x")})
    for session in (native, uploaded.json()["session_id"], "never-was"):
        body = {"lang": "py", "code": "x", "session_id": session}
        assert (await house.client.post("/exec", json=body)).status_code == 200
        answer = await house.client.post("/exec", json=body, headers=THEIRS)
        assert answer.status_code == (200 if session == "never-was" else 403), session
    assert (await house.client.get("/sessions", headers=THEIRS)).json()["total"] == 0


async def test_the_command_on_the_wire_needs_no_owner() -> None:
    """Whoever may write to the broker is trusted."""
    from schemas.wire import decode_control

    bare = decode_control(b'{"type":"end_session","session_id":"s"}')
    assert bare == EndSession(session_id="s")
    assert msgspec.json.encode(bare) == b'{"type":"end_session","session_id":"s"}'
