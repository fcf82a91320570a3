"""What every front door makes from the settings before anything else: how to reach Redis, where files lie."""

from pathlib import Path

from infra.errors import Misconfigured
from infra.redis import RedisConfig, RedisTls
from infra.settings import Settings
from infra.stores.files import FileStore
from infra.stores.folder import FolderStore


def redis_config(settings: Settings) -> RedisConfig:
    """Return how to reach the operator's Redis. Raises `Misconfigured` for nodes without a port."""
    nodes = {
        "cluster": settings.redis_cluster_nodes,
        "sentinel": settings.redis_sentinel_nodes,
        "standalone": (),
    }
    return RedisConfig(
        mode=settings.redis_mode,
        url=settings.redis_url.reveal() if settings.redis_url else None,
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        password=settings.redis_password.reveal() if settings.redis_password else None,
        nodes=tuple(_node(node) for node in nodes[settings.redis_mode]),
        master=settings.redis_sentinel_master,
        sentinel_password=(
            settings.redis_sentinel_password.reveal() if settings.redis_sentinel_password else None
        ),
        tls=_tls(settings),
        prefix=settings.redis_key_prefix,
        connections_max=settings.redis_max_connections,
        connect_timeout_s=float(settings.redis_socket_connect_timeout),
        socket_timeout_s=float(settings.redis_socket_timeout),
    )


def file_store(settings: Settings) -> FileStore:
    """Return where the bytes of files lie. Raises `Misconfigured` where that cannot be had yet."""
    if settings.s3_configured:
        raise Misconfigured(
            "MINIO_*: storing files in S3 is not built yet; leave MINIO_* out to use a local folder"
        )
    return FolderStore(settings.millrace_data_dir / "files")


def _tls(settings: Settings) -> RedisTls | None:
    if not settings.redis_tls_enabled:
        return None
    return RedisTls(
        ca_file=_text(settings.redis_tls_ca_cert_file),
        certificate_file=_text(settings.redis_tls_cert_file),
        key_file=_text(settings.redis_tls_key_file),
        verify=not settings.redis_tls_insecure,
        check_hostname=settings.redis_tls_check_hostname,
    )


def _node(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise Misconfigured(f"{text!r} is no host:port")
    return host, int(port)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
