"""The one place that connects to NATS.

A connection made here does not mend itself: when it breaks it is over, and whoever owns it makes another.
The client's own reconnecting waits for ever on the first try, hides why a server refused, and later sends
what its callers gave up long ago.
"""

import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nats import errors as nats_errors
from nats.aio.client import Client

from infra.errors import Misconfigured, Unavailable
from infra.nats_line import NatsLine

AWAY = (nats_errors.Error, OSError, TimeoutError)
"""What a client raises when the server is away, refuses it, or does not answer. TLS trouble is an OSError."""


@dataclass(frozen=True, slots=True)
class NatsTls:
    """How the server proves itself, and we to it. Paths are of PEM files."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Return what every connection uses. Raises `Misconfigured` for files that are no certificates."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except OSError as error:
            files = ", ".join(name for name in (self.ca_file, self.certificate_file, self.key_file) if name)
            raise Misconfigured(f"TLS to NATS: {files} cannot be used: {error}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class NatsConfig:
    """Where NATS is and how to reach it. `servers` are `nats://` or `tls://` URLs, tried in any order."""

    servers: tuple[str, ...] = field(default=("nats://127.0.0.1:4222",), repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    credentials_file: Path | None = None
    tls: NatsTls | None = None
    prefix: str = ""
    """Before every subject; ends with a dot unless it is empty."""
    replicas: int = 1
    """Of every stream: 1, 3 or 5."""
    connect_timeout_s: float = 2.0

    def where(self) -> str:
        """Return where this looks for NATS, for logs and errors: no user, no password."""
        return ",".join(urlsplit(server).netloc.rpartition("@")[-1] for server in self.servers)


class _Client(Client):
    """A client that says who it is only over TLS, if it was told to use it.

    The one underneath speaks TLS where the server asks for it, and in clear text where it does not.
    """

    def _connect_command(self) -> bytes:
        if "tls" in self.options and not self._server_info.get("tls_required"):
            raise nats_errors.Error("the server does not speak TLS")
        return super()._connect_command()


async def connect(config: NatsConfig, closed: Callable[[], None], name: str) -> NatsLine:
    """Return a connection to one of the servers; `closed` is called when it is over.

    Tries every server once. Raises `Unavailable`, with what the last of them said, when none takes us.
    """
    tls = config.tls.context() if config.tls else None
    reason: Exception | None = None
    for server in random.sample(config.servers, len(config.servers)):
        try:
            return await _connect(config, server, tls, closed, name)
        except AWAY as error:
            reason = error
    raise Unavailable(f"NATS at {config.where()} cannot be reached: {_said(reason)}") from reason


async def _connect(
    config: NatsConfig,
    server: str,
    tls: ssl.SSLContext | None,
    closed: Callable[[], None],
    name: str,
) -> NatsLine:
    client, said = _Client(), []

    async def hear(error: Exception) -> None:
        said.append(error)

    options: dict[str, Any] = {"tls": tls} if tls else {}
    options |= {"user_credentials": str(config.credentials_file)} if config.credentials_file else {}
    try:
        await client.connect(
            [server],
            error_cb=hear,
            name=name,
            allow_reconnect=False,
            max_reconnect_attempts=1,  # 0 would mean for ever
            reconnect_time_wait=0,
            connect_timeout=config.connect_timeout_s,  # type: ignore[arg-type] # annotated int, used as float
            user=config.user,
            password=config.password,
            token=config.token,
            **options,
        )
    except nats_errors.NoServersError as error:
        raise said[-1] if said else error from None
    if not client.is_connected:
        raise said[-1] if said else nats_errors.ConnectionClosedError
    return NatsLine(client, closed)


def _said(error: Exception | None) -> str:
    return f"{error}".strip() or type(error).__name__
