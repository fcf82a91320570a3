"""Settings of the front door: addresses, TLS, keys, logs, health, development."""

from pathlib import Path
from typing import Literal

from infra.settings.declare import HOST, group, setting
from infra.settings.secret import Secret

_HEADER = (r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", "an HTTP header name")


@group
class Api:
    """The HTTP service."""

    api_host: str = setting(
        "0.0.0.0",  # noqa: S104 - the promised default; the edge refuses it together with the default key
        "Address the edge listens on. 127.0.0.1 keeps it to this machine; 0.0.0.0 or :: opens it to every "
        "network, and then the default API_KEY is refused unless API_DEBUG is true.",
        pattern=HOST,
    )
    api_port: int = setting(8000, "TCP port of the edge.", at_least=1, at_most=65_535)
    api_debug: bool = setting(
        False,
        "Development mode: more log lines, and the default API_KEY is accepted from other machines. "
        "Never in production.",
    )
    api_reload: bool = setting(
        False,
        "Start `millrace edge`, or all of `millrace serve`, again when a source file changes. For work on "
        "Millrace itself: each change cuts clients off.",
    )


@group
class Https:
    """HTTPS at the edge itself.

    Behind a proxy that ends TLS, leave it off.
    """

    enable_https: bool = setting(False, "Serve HTTPS on HTTPS_PORT. Needs a certificate and its key.")
    https_port: int = setting(443, "TCP port for HTTPS.", at_least=1, at_most=65_535)
    ssl_certs_path: Path = setting(
        Path("./ssl"), "Folder in which cert.pem and key.pem are looked for when no file is named."
    )
    ssl_redirect: bool = setting(
        False, "Answer plain HTTP on API_PORT with a redirect to HTTPS. Needs ENABLE_HTTPS."
    )
    ssl_cert_file: Path | None = setting(
        None,
        "Certificate with its chain, PEM. Empty: cert.pem in SSL_CERTS_PATH. OpenSSL reads a variable of "
        "this name too, as the authorities to trust; mind what is left in the environment.",
    )
    ssl_key_file: Path | None = setting(None, "Private key, PEM. Empty: key.pem in SSL_CERTS_PATH.")
    ssl_ca_certs: Path | None = setting(
        None, "Authorities whose client certificates are demanded, PEM. Empty: clients need none."
    )


@group
class Auth:
    """Who may call."""

    api_key: Secret = setting(
        Secret("test-api-key"),
        "The key every caller needs. The default is public: it works on this machine only, or with "
        "API_DEBUG. At least 16 random characters, for example from `openssl rand -hex 24`.",
    )
    api_keys: tuple[Secret, ...] = setting((), "Further keys that are accepted, comma separated.")
    api_key_header: str = setting("x-api-key", "HTTP header that carries the key.", pattern=_HEADER)
    api_key_cache_ttl: int = setting(
        300,
        "Seconds for which an edge remembers that a managed key is good. A revoked key may work that long.",
        at_least=0,
        at_most=86_400,
    )
    master_api_key: Secret | None = setting(
        None, "Key that may manage other keys. Empty: keys are managed on the command line only."
    )
    rate_limit_enabled: bool = setting(
        True, "Enforce the rate limits of managed keys and of users that a token names."
    )


@group
class Logging:
    """Logs.

    They never hold code, keys or the contents of files.
    """

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", "The least severe message that is logged."
    )
    log_format: Literal["json", "text"] = setting(
        "json", "One JSON object a line for machines, or text for people."
    )
    log_file: Path | None = setting(
        None, "File to log to beside stderr; its folder must exist. Rotated; several processes may share it."
    )
    log_max_size_mb: int = setting(
        100, "Size in MiB at which LOG_FILE is rotated.", at_least=1, at_most=1 << 20
    )
    log_backup_count: int = setting(5, "Rotated files that are kept.", at_least=0, at_most=1000)
    enable_access_logs: bool = setting(True, "Log one line for each HTTP request.")
    enable_security_logs: bool = setting(
        True, "Log refused keys, tampered tokens and the like under the name edge.security."
    )


@group
class Health:
    """Health checks of what Millrace depends on."""

    health_check_interval: int = setting(
        30,
        "Seconds between two looks of an edge at its dependencies, which /metrics and the log show. "
        "/health/ready looks for itself.",
        at_least=1,
        at_most=3600,
    )
    health_check_timeout: int = setting(
        5, "Seconds after which a check that has not answered counts as failed.", at_least=1, at_most=300
    )


@group
class Development:
    """Browsers and documentation."""

    enable_cors: bool = setting(False, "Let browsers call from the pages in CORS_ORIGINS.")
    cors_origins: tuple[str, ...] = setting(
        (), "Origins such as https://chat.example.org, comma separated, or *. Needed with ENABLE_CORS."
    )
    enable_docs: bool = setting(True, "Serve /docs, /openapi.json and /asyncapi.json.")
