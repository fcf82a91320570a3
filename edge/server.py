"""Serving the edge: the socket, TLS, and an end that cuts nobody off in the middle of a line.

Signals belong to the command line, which sets an event; so does a test. When it is set the listening
socket closes, streams end cleanly for their readers to connect elsewhere, and requests that wait for
a run have `grace_s` to get their answer.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from edge.http_protocol import HttpProtocol
from infra.errors import Misconfigured

_BACKLOG = 2048
_KEEP_ALIVE_S = 75
_TAKEN = {
    errno.EADDRINUSE: "is in use",
    errno.EACCES: "needs more rights",
    errno.EADDRNOTAVAIL: "is not ours",
}


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM form; with `client_ca` only clients that it vouches for are let in."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """Where to listen: a TCP address, port 0 for any free one, or a unix socket."""

    host: str = "127.0.0.1"
    port: int = 8000
    unix_socket: Path | None = None
    tls: Tls | None = None


async def serve(
    app: ASGIApp,
    binding: Binding,
    closing: asyncio.Event,
    grace_s: float,
    on_ready: Callable[[str], None] = lambda _url: None,
    listener: socket.socket | None = None,
) -> None:
    """Serve `app` until `closing` is set, then for at most `grace_s` more. Raises `Misconfigured`.

    `on_ready` is told the URL once connections are accepted. With a `listener` made before by `listen`
    connections wait instead of failing while a crashed edge is started again.
    """
    server = _Server(_uvicorn_config(app, binding, grace_s))
    listener = listener or listen(binding)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    closed = asyncio.create_task(closing.wait())
    try:
        await server.accepting.wait()
        on_ready(_url(binding, listener))
        await asyncio.wait({serving, closed}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        closed.cancel()
        await serving
        listener.close()
        if binding.unix_socket:
            binding.unix_socket.unlink(missing_ok=True)


class _Server(uvicorn.Server):
    """A server that says when it is up and leaves the process's signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _uvicorn_config(app: ASGIApp, binding: Binding, grace_s: float) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # A client could name any address in X-Forwarded-For; who needs the real one asks the proxy's log.
        proxy_headers=False,
        lifespan="off",
        ws="none",
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    config.load()
    config.ssl = _tls_context(binding.tls) if binding.tls else None
    return config


def listen(binding: Binding) -> socket.socket:
    """Take the address. Raises `Misconfigured` if that cannot be."""
    try:
        if binding.unix_socket:
            return _listen_unix(binding.unix_socket)
        family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
        return socket.create_server((binding.host, binding.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        place = binding.unix_socket or f"{binding.host}:{binding.port}"
        why = _TAKEN.get(error.errno or 0, error.strerror or str(error))
        raise Misconfigured(f"The edge cannot listen on {place}: the address {why}.") from error


def _listen_unix(path: Path) -> socket.socket:
    """Bind a unix socket that only its owner may use; a file left by a dead server is taken away."""
    listener = socket.socket(socket.AF_UNIX)
    if path.is_socket() and not _answers(path):
        path.unlink()
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.client_ca:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # SSLError is one
        raise Misconfigured(
            f"HTTPS cannot start with certificate {tls.certificate} and key {tls.key}: {error}."
        ) from error
    return context


def _url(binding: Binding, listener: socket.socket) -> str:
    if binding.unix_socket:
        return f"unix:{binding.unix_socket}"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if binding.tls else 'http'}://{shown}:{port}"
