"""`millrace run --url`: one program on a server, its events followed to the end, however often it takes."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import msgspec

from commands.own_stdin import pass_on_stdin
from commands.run_report import Ending, Printer
from infra.errors import RequestRefused, Unavailable
from schemas.commands import RunCode
from schemas.events import AnyEvent, Finished, Output

_SILENCE_S_MAX = 60.0
"""A stream says something at least every 15 seconds."""
_PATIENCE_S = 60.0
"""How long a server that is away is tried again."""
_RETRY_S = 0.5


def run_there(command: RunCode, url: str, key: str | None, *, as_json: bool) -> int:
    """Run it and return the exit status. Raises `RequestRefused` or `Unavailable`."""
    server = Server(url, key)
    body = {name: value for name, value in msgspec.to_builtins(command).items() if name != "type"}
    path = server.call("POST", "/executions", body)["links"]["self"].removeprefix(server.root)
    if command.stdin is None:
        pass_on_stdin(lambda data: server.send_input(path, data))
    printer = Printer(as_json=as_json)
    while True:
        try:
            for event in server.follow(path):
                if isinstance(event, Output):
                    printer.output(event.stream, event.raw())
                elif isinstance(event, Finished):
                    return printer.end(_ending(event), msgspec.to_builtins(event))
        except KeyboardInterrupt:
            server.cancel(path)


class Server:
    """One Millrace server, spoken to with nothing but the standard library."""

    def __init__(self, url: str, key: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestRefused(f"{url!r} is no http or https URL", field="url")
        self._parts = parts
        self.root = parts.path.rstrip("/")
        self._headers = {"content-type": "application/json"} | ({"x-api-key": key} if key else {})
        self._seen = 0

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Make one request; return the decoded answer."""
        with closing(self._connect()) as connection:
            return json.loads(self._request(connection, method, path, body).read() or b"null")

    def follow(self, path: str) -> Iterator[AnyEvent]:
        """Yield every event once, from after the last one seen, connecting again as often as needed."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up_at:
            with suppress(OSError, HTTPException, Unavailable):
                for event in self._events(path):
                    give_up_at = time.monotonic() + _PATIENCE_S
                    yield event
            time.sleep(_RETRY_S)
        raise Unavailable(f"{self._parts.netloc} does not answer any more; the run goes on there")

    def send_input(self, path: str, data: bytes) -> bool:
        """Send standard input; nothing means its end. Return whether the program still takes it."""
        body = {"data": base64.b64encode(data).decode(), "encoding": "base64", "eof": not data}
        try:
            self.call("POST", f"{path}/input", body)
        except (RequestRefused, Unavailable):
            return False
        return True

    def cancel(self, path: str) -> None:
        """Ask for the end; what has ended meanwhile needs none."""
        with suppress(RequestRefused):
            self.call("DELETE", path)

    def _events(self, path: str) -> Iterator[AnyEvent]:
        with closing(self._connect()) as connection:
            headers = {"accept": "application/x-ndjson"}
            lines = self._request(connection, "GET", f"{path}/events?after={self._seen}", None, headers)
            for line in lines:
                event = msgspec.json.decode(line, type=AnyEvent)
                self._seen = event.seq
                yield event

    def _connect(self) -> HTTPConnection:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        assert self._parts.hostname is not None, "checked before"
        return kind(self._parts.hostname, self._parts.port, timeout=_SILENCE_S_MAX)

    def _request(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: object,
        headers: dict[str, str] | None = None,
    ) -> HTTPResponse:
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, self.root + path, data, self._headers | (headers or {}))
            response = connection.getresponse()
        except OSError as error:
            raise Unavailable(f"{self._parts.netloc} does not answer: {error}") from error
        if response.status >= 400:
            raise _refusal(response)
        return response


def _refusal(response: HTTPResponse) -> Exception:
    try:
        body = json.loads(response.read())
        message = f"{body.get('message') or body['error']}"
    except (ValueError, KeyError, AttributeError):
        message = response.reason
    if response.status in (429, 502, 503, 504):
        return Unavailable(message)
    return RequestRefused(f"{message} ({response.status})")


def _ending(event: Finished) -> Ending:
    return Ending(
        outcome=event.outcome, exit_code=event.exit_code, signal=event.signal, message=event.message
    )
