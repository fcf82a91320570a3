"""What every front door makes from the settings before anything else: how to reach Redis, where files lie."""

import re
from datetime import timedelta
from pathlib import Path

from infra.errors import Misconfigured
from infra.nats import NatsConfig, NatsTls
from infra.redis import RedisClient, RedisConfig
from infra.redis_tls import RedisTls
from infra.settings import Settings
from infra.stores.file_quota import FileQuota
from infra.stores.file_records import FileRecords
from infra.stores.files import FileStore
from infra.stores.folder_objects import FolderObjects
from infra.stores.objects import ObjectStore
from infra.stores.sessions import RedisSessions
from infra.stores.state import StateStore, StateTerms

_HOUR_S = 3600.0


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
        username=settings.millrace_redis_username or None,
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


def nats_config(settings: Settings) -> NatsConfig:
    """Return how to reach the operator's NATS."""
    urls = [url.reveal() for url in settings.nats_url]
    tls = NatsTls(
        ca_file=_text(settings.nats_tls_ca_cert_file),
        certificate_file=_text(settings.nats_tls_cert_file),
        key_file=_text(settings.nats_tls_key_file),
        verify=not settings.nats_tls_insecure,
    )
    return NatsConfig(
        servers=tuple(urls),
        user=settings.nats_user or None,
        password=settings.nats_password.reveal() if settings.nats_password else None,
        token=settings.nats_token.reveal() if settings.nats_token else None,
        credentials_file=settings.nats_credentials_file,
        tls=tls if settings.nats_speaks_tls else None,
        prefix=settings.nats_subject_prefix,
        replicas=int(settings.nats_replicas),
    )


def file_store(settings: Settings, redis: RedisClient) -> FileStore:
    """Return the store of files. It connects on first use; close it before `redis`."""
    bounds = settings.bounds()
    quota = FileQuota(
        files_max=bounds.files_max,
        file_bytes_max=bounds.file_bytes_max,
        session_bytes_max=bounds.files_bytes_max,
    )
    ttl_s = settings.session_ttl_hours * _HOUR_S
    records = FileRecords(redis, redis_config(settings), quota, ttl_s=ttl_s)
    return FileStore(object_store(settings), records)


def session_store(settings: Settings, redis: RedisClient) -> RedisSessions:
    """Return where sessions are known."""
    return RedisSessions(
        redis,
        redis_config(settings),
        ttl_s=settings.session_ttl_hours * _HOUR_S,
        sessions_max=settings.max_sessions_per_entity,
        id_length=settings.session_id_length,
    )


def state_store(
    settings: Settings, redis: RedisClient, objects: ObjectStore, recent_bytes_max: int = 0
) -> StateStore:
    """Return the store of Python state. Close `objects` and `redis` after it."""
    kept = timedelta(days=settings.state_archive_ttl_days)
    terms = StateTerms(
        ttl_s=float(settings.state_ttl_seconds),
        archive_ttl=kept if settings.state_archive_enabled else None,
        recent_bytes_max=recent_bytes_max,
    )
    return StateStore(redis, redis_config(settings), objects, terms)


def object_store(settings: Settings) -> ObjectStore:
    """Return where bytes lie: in S3 if it is configured, else in a folder."""
    if not settings.s3_configured:
        return FolderObjects(settings.millrace_data_dir / "objects")
    # Only those who use S3 pay for its SDK, which takes a while to load and much memory.
    from infra.objects import S3Config, S3Connection  # noqa: PLC0415
    from infra.stores.s3_objects import S3Objects  # noqa: PLC0415

    config = S3Config(
        endpoint=settings.minio_endpoint,
        bucket=settings.minio_bucket,
        region=settings.minio_region,
        secure=settings.minio_secure,
        access_key=settings.minio_access_key.reveal() if settings.minio_access_key else None,
        secret_key=settings.minio_secret_key.reveal() if settings.minio_secret_key else None,
        use_iam=settings.minio_use_iam,
        prefix=_object_prefix(settings.redis_key_prefix),
    )
    return S3Objects(S3Connection(config))


def _object_prefix(key_prefix: str) -> str:
    """Return a folder of the bucket for each key prefix, as records of one do not know objects of another."""
    safe = re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found[0]):02x}", key_prefix)
    return f"{safe}/" if safe else ""


def _tls(settings: Settings) -> RedisTls | None:
    if not settings.redis_speaks_tls:
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
    return host.strip("[]"), int(port)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
