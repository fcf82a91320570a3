"""What the settings of NATS say together."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from infra.settings.faults import Fault
from infra.settings.model import Settings
from infra.settings.readable import check_file

_WHEN = "MILLRACE_TRANSPORT is nats"
_URL = "must list nats://[user:password@]host[:port] or tls://..., comma separated"


def check_nats(settings: Settings) -> Iterator[Fault]:
    """Yield what they contradict each other in, or miss; nothing unless NATS carries the messages."""
    if settings.millrace_transport != "nats":
        return
    if not settings.nats_url:
        yield Fault("NATS_URL", "", f"is required: {_WHEN}")
    for url in settings.nats_url:
        if not _is_url(url.reveal()):
            yield Fault("NATS_URL", str(url), _URL)
    yield from _credentials(settings)
    yield from _tls(settings)


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in {"nats", "tls"} and bool(parts.hostname) and port != 0


def _credentials(settings: Settings) -> Iterator[Fault]:
    named = {
        "NATS_USER": settings.nats_user,
        "NATS_TOKEN": settings.nats_token,
        "NATS_CREDENTIALS_FILE": settings.nats_credentials_file,
    }
    given = [name for name, value in named.items() if value]
    if len(given) > 1:
        yield Fault(given[1], "", f"must be empty while {given[0]} is set: a connection has one identity")
    if settings.nats_password is not None and not settings.nats_user:
        yield Fault("NATS_USER", "", "must be set too: NATS_PASSWORD is")
    yield from check_file("NATS_CREDENTIALS_FILE", settings.nats_credentials_file, _WHEN)


def _tls(settings: Settings) -> Iterator[Fault]:
    cert, key = settings.nats_tls_cert_file, settings.nats_tls_key_file
    if (cert is None) != (key is None):
        missing = "NATS_TLS_CERT_FILE" if cert is None else "NATS_TLS_KEY_FILE"
        yield Fault(missing, "", "must be set too: a client certificate and its key go together")
    if settings.nats_speaks_tls:
        yield from check_file("NATS_TLS_CA_CERT_FILE", settings.nats_tls_ca_cert_file, "NATS speaks TLS")
        yield from check_file("NATS_TLS_CERT_FILE", cert, "NATS speaks TLS")
        yield from check_file("NATS_TLS_KEY_FILE", key, "NATS speaks TLS")
