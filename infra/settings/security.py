"""What a configuration that is valid leaves open. Findings, worst first; each with its remedy."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from infra.settings.model import Settings, is_loopback
from infra.settings.secret import Secret
from infra.settings.service import Auth

Severity = Literal["high", "medium", "low"]
_KEY_LENGTH_MIN = 16
_ORDER: dict[Severity, int] = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is open."""

    severity: Severity
    name: str
    """The setting to change."""
    message: str
    remedy: str


def find_weaknesses(settings: Settings) -> list[Finding]:
    """Return what `settings` leave open, worst first."""
    findings = [
        *_keys(settings),
        *_master_key(settings),
        *_development(settings),
        *_edge(settings),
        *_sandbox(settings),
        *_redis_tls(settings),
        *_redis_reach(settings),
        *_nats(settings),
        *_objects(settings),
    ]
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])


def _keys(settings: Settings) -> Iterator[Finding]:
    remedy = "Use at least 16 random characters: openssl rand -hex 24"
    named = [("API_KEY", settings.api_key), *(("API_KEYS", key) for key in settings.api_keys)]
    for name, key in named:
        if key == Auth.api_key:
            yield Finding("high", name, "The default key is public: everybody knows it.", remedy)
        else:
            yield from _short(name, key, remedy)


def _short(name: str, key: Secret, remedy: str) -> Iterator[Finding]:
    length = len(key.reveal())
    if length < _KEY_LENGTH_MIN:
        yield Finding("high", name, f"A key of {length} characters can be guessed.", remedy)


def _master_key(settings: Settings) -> Iterator[Finding]:
    master = settings.master_api_key
    if master is None:
        message = "There is no master key: keys can only be managed where Redis can be reached."
        yield Finding("low", "MASTER_API_KEY", message, "Set it if keys are to be managed over HTTP.")
        return
    yield from _short("MASTER_API_KEY", master, "Use at least 16 random characters: openssl rand -hex 24")
    if master in settings.accepted_keys:
        message = "The master key is also an ordinary key: every caller may manage keys."
        yield Finding("high", "MASTER_API_KEY", message, "Give the master a key of its own.")


def _development(settings: Settings) -> Iterator[Finding]:
    if settings.api_debug:
        message = "Development mode accepts the default key and logs more than production should."
        yield Finding("high", "API_DEBUG", message, "Set it to false in production.")
    if settings.api_reload:
        message = "Every change of a source file restarts the service."
        yield Finding("medium", "API_RELOAD", message, "Set it to false in production.")


def _edge(settings: Settings) -> Iterator[Finding]:
    reachable = not is_loopback(settings.api_host)
    if settings.millrace_trusted_network:
        message = "Requests are accepted without a key."
        remedy = "Set it to false, or let API_HOST be 127.0.0.1."
        yield Finding("high" if reachable else "medium", "MILLRACE_TRUSTED_NETWORK", message, remedy)
    if reachable and not settings.enable_https:
        message = "Keys and code cross the network in clear text unless a proxy ends TLS before the edge."
        yield Finding("medium", "ENABLE_HTTPS", message, "Set it to true, or put a proxy with TLS in front.")
    if settings.enable_cors and "*" in settings.cors_origins:
        message = "Every web page may call the service from its visitors' browsers."
        yield Finding("medium", "CORS_ORIGINS", message, "Name the pages that need it.")
    if settings.enable_docs:
        message = "The documentation of the interface is public."
        yield Finding("low", "ENABLE_DOCS", message, "Set it to false if the interface is not to be known.")
    if not settings.rate_limit_enabled:
        message = "The rate limits of managed keys are not enforced."
        yield Finding("low", "RATE_LIMIT_ENABLED", message, "Set it to true.")
    if not settings.enable_security_logs:
        message = "Refused keys leave no trace."
        yield Finding("low", "ENABLE_SECURITY_LOGS", message, "Set it to true.")


def _sandbox(settings: Settings) -> Iterator[Finding]:
    if not settings.enable_network_isolation:
        message = "Code in sandboxes reaches whatever this machine reaches, Redis and metadata services too."
        yield Finding("high", "ENABLE_NETWORK_ISOLATION", message, "Set it to true.")
    if not settings.enable_filesystem_isolation:
        message = "Code in a pod may change its container's file system and fill the disk it is granted."
        yield Finding("high", "ENABLE_FILESYSTEM_ISOLATION", message, "Set it to true.")
    if settings.millrace_allow_weak_sandbox:
        message = "The local sandbox may start on a host that cannot isolate code well (tier D)."
        remedy = "Set it to false; `millrace doctor` tells what the host lacks."
        yield Finding("high", "MILLRACE_ALLOW_WEAK_SANDBOX", message, remedy)
    if settings.millrace_sandbox == "kubernetes" and settings.k8s_execution_mode == "nsenter":
        message = "The sidecar needs privileges to enter the language container."
        yield Finding("medium", "K8S_EXECUTION_MODE", message, "Use agent.")


def _redis_tls(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_speaks_tls:
        return
    if settings.redis_tls_insecure:
        message = "Any certificate is accepted: whoever sits between reads and writes everything."
        yield Finding("high", "REDIS_TLS_INSECURE", message, "Set it to false and REDIS_TLS_CA_CERT_FILE.")
    elif not settings.redis_tls_check_hostname:
        message = "Any server with a certificate of that authority is taken for Redis."
        remedy = "Set it to true where certificates name their hosts."
        yield Finding("medium", "REDIS_TLS_CHECK_HOSTNAME", message, remedy)


def _redis_reach(settings: Settings) -> Iterator[Finding]:
    remote = [host for host in _redis_hosts(settings) if not is_loopback(host)]
    if not remote:
        return
    if not settings.redis_speaks_tls:
        message = f"Everything goes to {remote[0]} in clear text, code and keys included."
        yield Finding("high", "REDIS_TLS_ENABLED", message, "Set it to true, or use a rediss:// URL.")
    if settings.redis_password is None and not _url_has_password(settings):
        message = f"Redis on {remote[0]} is used without a password; whoever reaches it may run code."
        yield Finding("high", "REDIS_PASSWORD", message, "Set a password there and here.")


def _nats(settings: Settings) -> Iterator[Finding]:
    if settings.millrace_transport != "nats":
        return
    hosts = [urlsplit(url.reveal()).hostname or "" for url in settings.nats_url]
    remote = [host for host in hosts if not is_loopback(host)]
    if settings.nats_tls_insecure and settings.nats_speaks_tls:
        message = "Any certificate is accepted: whoever sits between reads and writes everything."
        yield Finding("high", "NATS_TLS_INSECURE", message, "Set it to false and NATS_TLS_CA_CERT_FILE.")
    if remote and not settings.nats_speaks_tls:
        message = f"Everything goes to {remote[0]} in clear text, code included."
        yield Finding("high", "NATS_TLS_ENABLED", message, "Set it to true, or use tls:// URLs.")
    if remote and not _nats_credentials(settings):
        message = f"NATS on {remote[0]} is used without credentials; whoever reaches it may run code."
        yield Finding("high", "NATS_USER", message, "Set users or tokens there, and one of them here.")


def _nats_credentials(settings: Settings) -> bool:
    named = settings.nats_user or settings.nats_token or settings.nats_credentials_file
    by_certificate = settings.nats_tls_cert_file is not None
    in_url = all(urlsplit(url.reveal()).username for url in settings.nats_url)
    return bool(named or by_certificate or in_url)


def _redis_hosts(settings: Settings) -> list[str]:
    if settings.redis_mode == "cluster":
        return [node.rpartition(":")[0].strip("[]") for node in settings.redis_cluster_nodes]
    if settings.redis_mode == "sentinel":
        return [node.rpartition(":")[0].strip("[]") for node in settings.redis_sentinel_nodes]
    if settings.redis_url is None:
        return [settings.redis_host]
    host = urlsplit(settings.redis_url.reveal()).hostname
    return [host] if host else []


def _url_has_password(settings: Settings) -> bool:
    return settings.redis_url is not None and bool(urlsplit(settings.redis_url.reveal()).password)


def _objects(settings: Settings) -> Iterator[Finding]:
    host = urlsplit(f"//{settings.minio_endpoint}").hostname or ""
    if settings.s3_configured and not settings.minio_secure and not is_loopback(host):
        message = f"Files go to {host} in clear text."
        yield Finding("high", "MINIO_SECURE", message, "Set it to true.")
