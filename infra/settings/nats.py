"""Settings of NATS, where it carries the messages."""

from pathlib import Path
from typing import Literal

from infra.settings.declare import group, setting
from infra.settings.secret import Secret


@group
class Nats:
    """NATS JetStream: the streams, where MILLRACE_TRANSPORT is nats. Everything else stays in Redis."""

    nats_url: tuple[Secret, ...] = setting(
        (),
        "nats:// or tls:// URLs of the servers, comma separated: one, or several of one cluster.",
        required_with="MILLRACE_TRANSPORT is nats",
    )
    nats_user: str = setting("", "User name. Not together with NATS_TOKEN or NATS_CREDENTIALS_FILE.")
    nats_password: Secret | None = setting(None, "Password of NATS_USER.")
    nats_token: Secret | None = setting(None, "Token, for servers that know no users.")
    nats_credentials_file: Path | None = setting(
        None, "Credentials file (JWT and key) as nsc writes it, for servers with accounts."
    )
    nats_tls_enabled: bool = setting(
        False, "Refuse to speak to a server without TLS. A tls:// URL in NATS_URL says the same."
    )
    nats_tls_ca_cert_file: Path | None = setting(
        None, "Authority that signed the servers' certificates, PEM. Empty: those the system trusts."
    )
    nats_tls_cert_file: Path | None = setting(None, "Client certificate, PEM. Goes with NATS_TLS_KEY_FILE.")
    nats_tls_key_file: Path | None = setting(
        None, "Key of the client certificate, PEM. Goes with NATS_TLS_CERT_FILE."
    )
    nats_tls_insecure: bool = setting(
        False, "Accept any server certificate. Whoever sits between can then read and write everything."
    )
    nats_replicas: Literal["1", "3", "5"] = setting(
        "1", "Copies of every stream, each on a server of its own: 3 or 5 survive the loss of one or two."
    )
    nats_subject_prefix: str = setting(
        "",
        "Put before every subject, for an account shared with others; ends with a dot.",
        pattern=(r"([A-Za-z0-9_-]+\.){0,8}", "words of [A-Za-z0-9_-], each followed by a dot"),
    )
