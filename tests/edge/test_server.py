"""Over real connections: who leaves, who floods, how the server ends, where it listens."""

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.server import Binding, Tls, serve
from infra.errors import Misconfigured
from streams.depth import QueueDepth

RUN = {"language": "py", "code": "slow"}


async def raw(house: Any, request: bytes) -> bytes:
    """Send bytes as they are and return all that comes until the server closes."""
    reader, writer = await connected(house)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def connected(house: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = httpx.URL(house.base_url)
    return await asyncio.open_connection(url.host, url.port)


def exec_request(key: str, body: bytes) -> bytes:
    head = f"POST /exec HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_the_server_does_not_name_itself(make_house: Any) -> None:
    """Nobody needs to know what it is made of."""
    house = await make_house(served=True)
    answer = await house.client.get("/health")
    assert answer.status_code == 200
    assert "server" not in answer.headers


@pytest.mark.parametrize("choice", ["cancel", "finish"])
async def test_a_client_that_leaves_a_synchronous_run_cancels_it_or_not(
    make_house: Any, scripts: Any, keys: tuple[str, str], choice: str
) -> None:
    """As the operator chose."""
    house = await make_house(served=True, when_client_leaves=choice)
    started = asyncio.Event()
    finish = asyncio.Event()

    async def slow(act: Any) -> None:
        started.set()
        if choice == "cancel":
            await scripts["until_cancelled"](act)
        else:
            await act.start()
            await finish.wait()
            await act.finish()

    house.handler.scripts["slow"] = slow
    _, writer = await connected(house)
    writer.write(exec_request(keys[0], b'{"lang":"py","code":"slow"}'))
    await started.wait()
    writer.close()
    await writer.wait_closed()
    while "millrace_http_requests_open 1.0" not in (await house.client.get("/metrics")).text:
        pass  # until the edge has noticed, and only this question is open
    finish.set()
    execution_id = house.handler.seen[0].id
    view = await house.client.get(f"/executions/{execution_id}", headers={"prefer": "wait=10"})
    assert view.json()["outcome"] == ("cancelled" if choice == "cancel" else "exited")
    assert bool(house.handler.heard) == (choice == "cancel")


async def test_a_reader_that_leaves_a_stream_changes_nothing(make_house: Any) -> None:
    """The run goes on, and can be replayed."""
    house = await make_house(served=True)
    go_on = asyncio.Event()

    async def slow(act: Any) -> None:
        await act.start()
        await act.say("one")
        await go_on.wait()
        await act.finish()

    house.handler.scripts["slow"] = slow
    headers = {"accept": "text/event-stream"}
    async with house.client.stream("POST", "/executions", json=RUN, headers=headers) as answer:
        location = answer.headers["location"]
        async for line in answer.aiter_lines():
            if line == "event: output":
                break
    go_on.set()
    view = await house.client.get(location, headers={"prefer": "wait=10"})
    assert view.json()["outcome"] == "exited"
    assert not house.handler.heard


async def test_streams_end_cleanly_when_the_server_closes(make_house: Any, scripts: Any) -> None:
    """The last chunk is sent, so that readers know to connect elsewhere; the run goes on."""
    house = await make_house(served=True)
    house.handler.scripts["slow"] = scripts["until_cancelled"]
    headers = {"accept": "application/x-ndjson"}
    types = []
    async with house.client.stream("POST", "/executions", json=RUN, headers=headers) as answer:
        async for line in answer.aiter_lines():
            types.append(json.loads(line)["type"])
            if types[-1] == "output":
                house.closing.set()
    assert types == ["queued", "started", "output"]


async def test_a_waiting_client_is_told_202_when_the_server_closes(make_house: Any, scripts: Any) -> None:
    """With where to look: any other edge knows."""
    house = await make_house(served=True)
    house.handler.scripts["slow"] = scripts["until_cancelled"]
    waiting = asyncio.create_task(
        house.client.post("/executions", json={**RUN, "id": "w"}, headers={"prefer": "wait=60"})
    )
    await house.handler.took.wait()
    house.closing.set()
    answer = await waiting
    assert (answer.status_code, answer.headers["location"]) == (202, "/executions/w")


async def test_a_synchronous_run_gets_its_answer_while_the_server_closes(make_house: Any) -> None:
    """Within the grace the operator allows."""
    house = await make_house(served=True)
    go_on = asyncio.Event()

    async def slow(act: Any) -> None:
        await act.start()
        await go_on.wait()
        await act.finish()

    house.handler.scripts["slow"] = slow
    waiting = asyncio.create_task(house.client.post("/exec", json={"lang": "py", "code": "slow"}))
    await house.handler.took.wait()
    house.closing.set()
    while True:  # until nobody new is let in
        try:
            _, writer = await connected(house)
            writer.close()
        except OSError:
            break
    go_on.set()
    assert (await waiting).json()["code"] == 0


class Stuck:
    """A publisher whose broker is away: it tries for longer than the server lasts."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def submit(self, *_: Any) -> None:
        self.asked.set()
        await asyncio.Event().wait()

    async def depth(self) -> QueueDepth:
        return QueueDepth(waiting=0, pending=0)


async def test_what_the_server_cannot_wait_for_any_longer_is_503(make_house: Any) -> None:
    """No error of ours: whoever asks again, under the same id, is told what came of it."""
    publisher = Stuck()
    house = await make_house(served=True, publisher=publisher, grace_s=1)
    waiting = asyncio.create_task(house.client.post("/executions", json={**RUN, "id": "w"}))
    await publisher.asked.wait()
    house.closing.set()
    answer = await waiting
    assert (answer.status_code, answer.json()["error"]) == (503, "closing")
    assert answer.headers["retry-after"] == "1"


async def test_a_flood_is_refused_while_it_comes_and_the_connection_closed(
    make_house: Any, keys: tuple[str, str]
) -> None:
    """Declared or chunked; what follows on the connection is not taken for a request."""
    house = await make_house(served=True, body_bytes_max=1000)
    chunked = (
        f"POST /exec HTTP/1.1\r\nhost: x\r\nx-api-key: {keys[0]}\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode() + (b"200\r\n" + b"x" * 512 + b"\r\n") * 4
    declared = exec_request(keys[0], b"")[:-4].replace(b"length: 0", b"length: 1000000") + b"\r\n\r\nxxx"
    for request in (chunked, declared):
        answer = await raw(house, request)
        assert answer.startswith(b"HTTP/1.1 413 "), answer
        assert answer.count(b"HTTP/1.1") == 1
        assert b'"too_large"' in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /exec HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /exec HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    ],
)
async def test_what_is_no_http_is_400(make_house: Any, request_bytes: bytes) -> None:
    """And the server goes on."""
    house = await make_house(served=True)
    assert (await raw(house, request_bytes)).startswith(b"HTTP/1.1 400")
    assert (await house.client.get("/health")).status_code == 200


async def test_a_body_that_never_comes_is_given_up(make_house: Any, keys: tuple[str, str]) -> None:
    """408 after the time the operator allows."""
    house = await make_house(served=True, body_timeout_s=0.05)
    reader, writer = await connected(house)
    writer.write(exec_request(keys[0], b"x" * 50)[:-20])
    head = await reader.readuntil(b"\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 408")


async def test_a_body_that_ends_early_harms_nobody(make_house: Any, keys: tuple[str, str]) -> None:
    """Nothing is published for it."""
    house = await make_house(served=True)
    _, writer = await connected(house)
    writer.write(exec_request(keys[0], b'{"lang":"py","code":"x"}')[:-5])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await house.client.get("/health")).status_code == 200
    assert not house.handler.seen


async def test_many_requests_at_once_are_all_answered(make_house: Any) -> None:
    """Each with its own run."""
    house = await make_house(served=True)
    answers = await asyncio.gather(
        *(house.client.post("/exec", json={"lang": "py", "code": f"{n}"}, timeout=100) for n in range(200))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["session_id"] for answer in answers}) == 200


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The smallest application there is."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def serving(binding: Binding) -> Any:
    """Serve the smallest application and yield its URL."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    closing = asyncio.Event()
    task = asyncio.create_task(serve(app, binding, closing, grace_s=1, on_ready=ready.set_result))
    await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            await task
        yield ready.result()
    finally:
        closing.set()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_unix_socket_is_for_its_owner_and_goes_away_again(tmp_path: Path) -> None:
    """What a dead server left behind is replaced; what a living one uses is not."""
    path = tmp_path / "edge.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    async with serving(Binding(unix_socket=path)) as url:
        assert url == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
            assert (await client.get("http://edge/")).text == "ok"
        with pytest.raises(Misconfigured, match="in use"):
            async with serving(Binding(unix_socket=path)):
                pass
    assert not path.exists()


async def test_an_address_in_use_is_said_in_a_sentence() -> None:
    """Not in a stack trace."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"127.0.0.1:{port}.*in use"):
            await serve(app, Binding(port=port), asyncio.Event(), grace_s=1)


async def test_a_missing_certificate_is_said_in_a_sentence(tmp_path: Path) -> None:
    """With the files it looked for."""
    tls = Tls(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    with pytest.raises(Misconfigured, match=r"cert\.pem"):
        await serve(app, Binding(port=0, tls=tls), asyncio.Event(), grace_s=1)
