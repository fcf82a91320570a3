"""What settings say together: each alone may be right and the pair still wrong."""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from infra.settings.check_nats import check_nats
from infra.settings.faults import Fault
from infra.settings.model import Settings
from infra.settings.readable import check_file as _file
from infra.settings.secret import mask_url

_MEMORY_UNITS: dict[str, int] = {"": 1, "k": 1000, "K": 1000, "Ki": 1 << 10} | {
    unit: int(factor)
    for power, letter in enumerate("MGTPE", start=2)
    for unit, factor in ((letter, 1000**power), (f"{letter}i", 1024**power))
}
_NODE = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_PORT_MAX = 65_535


def check_together(settings: Settings) -> Iterator[Fault]:
    """Yield everything that settings contradict each other in, or miss on this machine."""
    yield from _https(settings)
    yield from _jwt(settings)
    yield from _redis_place(settings)
    yield from _redis_tls(settings)
    yield from check_nats(settings)
    yield from _objects(settings)
    yield from _sandbox(settings)
    yield from _kubernetes(settings)
    yield from _gvisor(settings)
    yield from _cors(settings)
    yield from _logs(settings)


def _https(settings: Settings) -> Iterator[Fault]:
    if settings.ssl_redirect and not settings.enable_https:
        yield Fault("SSL_REDIRECT", "true", "needs ENABLE_HTTPS=true to redirect to")
    if not settings.enable_https:
        return
    if settings.https_port == settings.api_port:
        port = str(settings.https_port)
        yield Fault("HTTPS_PORT", port, "must differ from API_PORT while ENABLE_HTTPS is true")
    yield from _file("SSL_CERT_FILE", settings.https_cert_file, "ENABLE_HTTPS is true")
    yield from _file("SSL_KEY_FILE", settings.https_key_file, "ENABLE_HTTPS is true")
    yield from _file("SSL_CA_CERTS", settings.ssl_ca_certs, "ENABLE_HTTPS is true")


def _jwt(settings: Settings) -> Iterator[Fault]:
    if not settings.codeapi_jwt_enabled:
        return
    pem, jwks = settings.codeapi_jwt_public_key_file, settings.codeapi_jwt_jwks_file
    if pem is None and jwks is None:
        yield Fault(
            "CODEAPI_JWT_ENABLED", "true", "needs CODEAPI_JWT_PUBLIC_KEY_FILE or CODEAPI_JWT_JWKS_FILE"
        )
    yield from _file("CODEAPI_JWT_PUBLIC_KEY_FILE", pem, "CODEAPI_JWT_ENABLED is true")
    yield from _file("CODEAPI_JWT_JWKS_FILE", jwks, "CODEAPI_JWT_ENABLED is true")


def _redis_place(settings: Settings) -> Iterator[Fault]:
    url = settings.redis_url
    if url is not None:
        yield from _redis_url(url.reveal())
    if settings.redis_mode == "cluster":
        yield from _nodes("REDIS_CLUSTER_NODES", settings.redis_cluster_nodes, "cluster")
        if settings.redis_db:
            yield Fault("REDIS_DB", str(settings.redis_db), "must be 0 in a cluster, which has no other")
    if settings.redis_mode == "sentinel":
        yield from _nodes("REDIS_SENTINEL_NODES", settings.redis_sentinel_nodes, "sentinel")
    if url is not None and settings.redis_mode != "standalone":
        mode = settings.redis_mode
        yield Fault("REDIS_URL", url.masked(), f"must be empty while REDIS_MODE is {mode}: the nodes count")


def _redis_url(url: str) -> Iterator[Fault]:
    means = "must be redis://[user:password@]host[:port][/db], rediss://... or unix:///path"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield Fault("REDIS_URL", mask_url(url), means)
        return
    by_host = parts.scheme in {"redis", "rediss"} and parts.hostname and port != 0
    by_path = parts.scheme == "unix" and parts.path.startswith("/")
    if not (by_host or by_path):
        yield Fault("REDIS_URL", mask_url(url), means)


def _nodes(name: str, nodes: tuple[str, ...], mode: str) -> Iterator[Fault]:
    if not nodes:
        yield Fault(name, "", f"must list host:port at least once while REDIS_MODE is {mode}")
    for node in nodes:
        matched = _NODE.fullmatch(node)
        if matched is None or not 1 <= int(matched.group(2)) <= _PORT_MAX:
            yield Fault(name, node, "must consist of host:port, comma separated")


def _redis_tls(settings: Settings) -> Iterator[Fault]:
    cert, key = settings.redis_tls_cert_file, settings.redis_tls_key_file
    if (cert is None) != (key is None):
        missing = "REDIS_TLS_CERT_FILE" if cert is None else "REDIS_TLS_KEY_FILE"
        yield Fault(missing, "", "must be set too: a client certificate and its key go together")
    url = settings.redis_url
    if settings.redis_tls_enabled and url is not None and not url.reveal().startswith("rediss:"):
        yield Fault("REDIS_URL", url.masked(), "must begin with rediss:// while REDIS_TLS_ENABLED is true")
    if settings.redis_speaks_tls:
        yield from _file("REDIS_TLS_CA_CERT_FILE", settings.redis_tls_ca_cert_file, "Redis speaks TLS")
        yield from _file("REDIS_TLS_CERT_FILE", cert, "Redis speaks TLS")
        yield from _file("REDIS_TLS_KEY_FILE", key, "Redis speaks TLS")


def _objects(settings: Settings) -> Iterator[Fault]:
    if not settings.s3_configured or settings.minio_use_iam:
        return
    for name, key in (
        ("MINIO_ACCESS_KEY", settings.minio_access_key),
        ("MINIO_SECRET_KEY", settings.minio_secret_key),
    ):
        if key is None:
            why = "is required: MINIO_ENDPOINT or the other key is set and MINIO_USE_IAM is false"
            yield Fault(name, "", why)


def _sandbox(settings: Settings) -> Iterator[Fault]:
    if settings.millrace_sandbox == "local" and not settings.enable_filesystem_isolation:
        why = "must be true while MILLRACE_SANDBOX is local: it would show code the files of this machine"
        yield Fault("ENABLE_FILESYSTEM_ISOLATION", "false", why)


def _kubernetes(settings: Settings) -> Iterator[Fault]:
    for what, request, limit in (
        ("CPU", _cpus(settings.k8s_cpu_request), _cpus(settings.k8s_cpu_limit)),
        ("MEMORY", _bytes(settings.k8s_memory_request), _bytes(settings.k8s_memory_limit)),
    ):
        if request > limit:
            given = getattr(settings, f"k8s_{what.lower()}_request")
            yield Fault(f"K8S_{what}_REQUEST", given, f"must not be above K8S_{what}_LIMIT")


def _cpus(quantity: str) -> Decimal:
    return Decimal(quantity[:-1]) / 1000 if quantity.endswith("m") else Decimal(quantity)


def _bytes(quantity: str) -> Decimal:
    digits = quantity.rstrip("KMGTPEik")
    return Decimal(digits) * _MEMORY_UNITS[quantity[len(digits) :]]


def _gvisor(settings: Settings) -> Iterator[Fault]:
    if settings.gke_sandbox_enabled and settings.k8s_execution_mode == "nsenter":
        yield Fault("K8S_EXECUTION_MODE", "nsenter", "cannot work under gVisor (GKE_SANDBOX_ENABLED)")
    selector = settings.gke_sandbox_node_selector
    if not all(isinstance(value, str) for value in selector.values()):
        yield Fault("GKE_SANDBOX_NODE_SELECTOR", str(selector), "must have only texts as values")
    tolerations: list[Any] = settings.gke_sandbox_custom_tolerations
    if not all(isinstance(toleration, dict) for toleration in tolerations):
        yield Fault("GKE_SANDBOX_CUSTOM_TOLERATIONS", str(tolerations), "must have only objects as entries")


def _cors(settings: Settings) -> Iterator[Fault]:
    if settings.enable_cors and not settings.cors_origins:
        yield Fault("CORS_ORIGINS", "", "must name the origins, or *, while ENABLE_CORS is true")
    yield from _origins(settings.cors_origins)


def _origins(origins: Iterable[str]) -> Iterator[Fault]:
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/?#@\s]+", origin):
            yield Fault(
                "CORS_ORIGINS", origin, "must be * or origins such as https://host:port, without path"
            )


def _logs(settings: Settings) -> Iterator[Fault]:
    file = settings.log_file
    if file is None:
        return
    if file.is_dir():
        yield Fault("LOG_FILE", str(file), "must be a file, not a folder")
    elif not file.parent.is_dir():
        yield Fault("LOG_FILE", str(file), "must lie in a folder that exists")
