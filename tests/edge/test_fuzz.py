"""Whatever arrives, the answer is a decision of ours: never a 500, always JSON of a known shape.

`make fuzz` draws many more.
"""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.app import Stores, create_app
from edge.config import EdgeConfig
from edge.keys import Keyring
from infra.stores.saved_state import StateChanged
from infra.stores.sessions import Session, TooManySessions, UnknownSession
from schemas.commands import RunCode
from schemas.files import FileRef
from schemas.ids import SessionId
from streams.memory import MemoryBroker, MemoryTransport
from streams.protocol import DeliveryPolicy

pytestmark = pytest.mark.timeout(600)
"""For thousands of requests on a busy machine."""

ALLOWED = {200, 201, 202, 204, 400, 401, 403, 404, 405, 409, 412, 413, 422, 503, 504}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = [*RunCode.__struct_fields__, "type", "lang", "timeout", "api_key", "data", "eof", "results"]
bodies = st.one_of(
    st.binary(max_size=200),
    st.dictionaries(st.sampled_from(fields) | st.text(max_size=10), anything, max_size=8).map(json.dumps),
    st.fixed_dictionaries(
        {"language": st.sampled_from(["py", "Python", "go", "x"]), "code": st.text(max_size=20)},
        optional={field: anything for field in fields if field not in {"language", "code"}},
    ).map(json.dumps),
    st.fixed_dictionaries(
        {"lang": st.sampled_from(["py", "js", "x"]), "code": st.text(max_size=20)},
        optional={
            "args": anything,
            "timeout": anything,
            "files": anything
            | st.lists(
                st.fixed_dictionaries(
                    {"id": st.text(max_size=22), "name": st.text(max_size=30)},
                    optional={"session_id": anything, "storage_session_id": st.text(max_size=22)},
                )
            ),
        },
    ).map(json.dumps),
)
header_bytes = st.binary(max_size=40).filter(lambda value: not set(value) & {0, 10, 13})
headers = st.dictionaries(
    st.sampled_from(
        [
            "accept",
            "authorization",
            "content-type",
            "idempotency-key",
            "last-event-id",
            "origin",
            "prefer",
            "traceparent",
            "tracestate",
            "x-request-id",
            "content-length",
            "if-match",
            "if-none-match",
        ]
    ),
    header_bytes
    | st.sampled_from(
        [b"wait=0", b"application/x-ndjson", b"text/event-stream", b"1", b"*/*", b"Basic Og=="]
    ),
    max_size=4,
)
segment = st.text(min_size=0, max_size=12)
paths = st.one_of(
    st.sampled_from(["/exec", "/v1/exec", "/executions", "/languages", "/health/detailed"]),
    st.builds(
        "/executions/{}{}".format,
        segment,
        st.sampled_from(["", "/events", "/input", "/tool-results", "/events?after="]),
    ),
    segment.map("/{}".format),
    st.sampled_from(["/upload", "/upload/batch"]),
    st.builds(
        "/{}/{}/{}".format,
        st.sampled_from(["files", "download", "sessions/objects", "sessions"]),
        segment,
        st.sampled_from(["", "x", "objects/x", "?detail=full", "?detail=", "%2e%2e"]),
    ),
    st.builds("/sessions?{}={}".format, st.sampled_from(["limit", "offset"]), segment),
    segment.map("/sessions/{}".format),
    st.builds("/state/{}{}".format, segment, st.sampled_from(["", "/info", "/x"])),
)


async def ask(method: str, path: str, body: bytes | str, given_headers: dict[str, bytes]) -> httpx.Response:
    """Ask a fresh edge that nobody works for; what waits is cut short."""
    transport = MemoryTransport(MemoryBroker(), DeliveryPolicy())
    config = EdgeConfig(
        keys=Keyring("k"),
        sync_wait_s_max=0.001,
        access_logs=False,
        security_logs=False,
        docs="doc" in path or "api" in path,  # writing the documents takes longer than all the rest
    )
    closing = asyncio.Event()
    closing.set()
    app = create_app(
        config,
        transport,
        Stores(NoHandlers(), NoFiles(), None, NoSessions(), NoStates(), None),
        closing=closing,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        url = "http://edge" + quote(path.encode("utf-8", "surrogatepass"), safe="/?=")
        return await client.request(
            method, url, content=body if isinstance(body, bytes) else body.encode(), headers=given_headers
        )


class NoStates:
    """No session has any state, and none can be saved."""

    async def read(self, owner, session_id):
        return None

    async def find(self, owner, session_id):
        return None

    async def save(self, owner, session_id, data, expected):
        raise StateChanged

    async def delete(self, owner, session_id):
        return False


class NoSessions:
    """Sessions of nobody."""

    async def find(self, owner: str, session_id: str) -> None:
        """Return nothing."""

    async def listing(self, owner: str, skip: int, count: int) -> tuple[int, list[Session]]:
        """Return nothing."""
        return 0, []

    async def open(self, owner: str) -> Session:
        """Refuse."""
        raise TooManySessions(0)

    async def use(self, owner: str, session_id: str) -> Session:
        """Refuse."""
        raise UnknownSession(SessionId(session_id))


class NoFiles:
    """A store with nothing in it, which takes nothing."""

    async def find(self, owner: str, session_id: str, file_id: str) -> None:
        """Return nothing."""

    async def find_anywhere(self, owner: str, file_id: str) -> None:
        """Return nothing."""

    async def listing(self, owner: str, session_id: str) -> list[Any]:
        return []

    async def delete(self, owner: str, session_id: str, file_id: str) -> bool:
        return False

    async def delete_session(self, owner: str, session_id: str) -> int:
        return 0

    async def save(self, owner: str, session_id: str, name: str, content: Any, attributes: Any) -> Any:
        size = sum([len(chunk) async for chunk in content])
        return FileRef(id="F" * 21, session_id=session_id, name=name, size_bytes=size, content_type="x/y")


class NoHandlers:
    """A presence with nobody in it."""

    async def handlers(self) -> list[Any]:
        return []

    async def pools(self) -> list[Any]:
        return []

    async def announce(self, handler: Any) -> None:
        """Nobody announces here."""

    async def leave(self, handler_id: str) -> None:
        """Nobody leaves here."""


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"]),
    path=paths,
    body=bodies,
    given_headers=headers,
    with_key=st.booleans(),
)
def test_no_request_brings_a_500_out_of_the_edge(
    method: str, path: str, body: bytes | str, given_headers: dict[str, bytes], with_key: bool
) -> None:
    """Any method, path, headers and body, with and without a key."""
    if with_key:
        given_headers = {**given_headers, "x-api-key": b"k"}
    answer = asyncio.run(ask(method, path, body, given_headers))
    assert answer.status_code in ALLOWED
    assert answer.headers["x-request-id"]
    if answer.status_code >= 400 and method != "HEAD":
        assert {"error", "message"} <= set(answer.json())


form_pieces = st.sampled_from(
    [
        b"--B",
        b"--B--",
        b"\r\n",
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="file"; filename="a.txt"',
        b'Content-Disposition: form-data; name="file"; filename="../a"',
        b'Content-Disposition: form-data; name="version"',
        b'content-disposition: form-data; name="read_only"',
        b"Content-Type: text/plain",
        b"7",
        b"--",
    ]
)


@given(
    path=st.sampled_from(["/upload", "/upload/batch"]),
    body=st.lists(form_pieces | st.binary(max_size=8), max_size=14).map(b"".join),
    kind=st.sampled_from(
        [b"multipart/form-data; boundary=B", b"multipart/form-data", b"text/plain", b"\xff"]
    ),
)
def test_no_form_brings_a_500_out_of_the_routes_that_take_files(path: str, body: bytes, kind: bytes) -> None:
    """Pieces of multipart in any order."""
    answer = asyncio.run(ask("POST", path, body, {"x-api-key": b"k", "content-type": kind}))
    assert answer.status_code in {200, 400, 413}, answer.text
    assert answer.status_code == 200 or {"error", "message"} <= set(answer.json())


@given(path=st.sampled_from(["/exec", "/executions"]), body=bodies)
def test_no_body_brings_a_500_out_of_the_routes_that_run_code(path: str, body: bytes | str) -> None:
    """Bodies that are nearly right reach furthest in."""
    answer = asyncio.run(ask("POST", path, body, {"x-api-key": b"k"}))
    assert answer.status_code in ALLOWED - {401, 404, 405, 409}
