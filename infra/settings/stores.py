"""Settings of what is kept: Redis, S3, files, sessions, Python state."""

from pathlib import Path
from typing import Literal

from infra.settings.declare import HOST, group, setting
from infra.settings.secret import Secret, SecretUrl

_PREFIX = (
    r"[A-Za-z0-9_.:/-]{0,128}",
    "at most 128 of [A-Za-z0-9_.:/-] (braces would move keys between cluster slots)",
)
_BUCKET = (
    r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    "3 to 63 lower-case letters, digits, dots and hyphens, as S3 wants it",
)


@group
class Redis:
    """Redis or Valkey: the streams, sessions, keys and hot state."""

    redis_mode: Literal["standalone", "cluster", "sentinel"] = setting(
        "standalone", "How the Redis servers are arranged."
    )
    redis_host: str = setting(
        "localhost",
        "Host of the standalone server. While REDIS_HOST, REDIS_PORT and REDIS_URL are all empty and the "
        "mode is standalone, `millrace serve` starts a server of its own.",
        pattern=HOST,
        blank_in_template=True,
    )
    redis_port: int = setting(
        6379, "TCP port of the standalone server.", at_least=1, at_most=65_535, blank_in_template=True
    )
    redis_password: Secret | None = setting(None, "Password, of MILLRACE_REDIS_USERNAME if that is set.")
    millrace_redis_username: str = setting(
        "",
        "ACL user. Empty: the server's default user. A user in REDIS_URL stands before it.",
        pattern=(r"\S*", "without spaces"),
    )
    redis_db: int = setting(0, "Number of the database. A cluster has only 0.", at_least=0, at_most=65_535)
    redis_url: SecretUrl | None = setting(
        None,
        "redis://, rediss:// (TLS) or unix:// URL of a standalone server. Stands before REDIS_HOST, "
        "REDIS_PORT, REDIS_DB and REDIS_PASSWORD.",
    )
    redis_max_connections: int = setting(
        20,
        "Connections that each process opens at most for messages, and as many again for what it stores; "
        "to each node of a cluster. Commands that find none free wait.",
        at_least=4,
        at_most=10_000,
    )
    redis_socket_timeout: int = setting(5, "Seconds to wait for an answer of Redis.", at_least=1, at_most=600)
    redis_socket_connect_timeout: int = setting(
        5, "Seconds to wait for a connection to Redis.", at_least=1, at_most=600
    )
    redis_key_prefix: str = setting(
        "", "Put before every key, for a server shared with others.", pattern=_PREFIX
    )
    redis_cluster_nodes: tuple[str, ...] = setting(
        (),
        "Some nodes of the cluster as host:port, comma separated.",
        required_with="REDIS_MODE is cluster",
    )
    redis_sentinel_nodes: tuple[str, ...] = setting(
        (), "The sentinels as host:port, comma separated.", required_with="REDIS_MODE is sentinel"
    )
    redis_sentinel_master: str = setting(
        "mymaster", "Name under which the sentinels know the primary.", pattern=(r"\S+", "without spaces")
    )
    redis_sentinel_password: Secret | None = setting(None, "Password of the sentinels themselves.")
    redis_tls_enabled: bool = setting(False, "Speak TLS to Redis.")
    redis_tls_ca_cert_file: Path | None = setting(
        None, "Authority that signed the server's certificate, PEM. Empty: those the system trusts."
    )
    redis_tls_cert_file: Path | None = setting(None, "Client certificate, PEM. Goes with REDIS_TLS_KEY_FILE.")
    redis_tls_key_file: Path | None = setting(
        None, "Key of the client certificate, PEM. Goes with REDIS_TLS_CERT_FILE."
    )
    redis_tls_insecure: bool = setting(
        False, "Accept any server certificate. Whoever sits between can then read and write everything."
    )
    redis_tls_check_hostname: bool = setting(
        False, "Demand that the certificate names the host. Turn it on where certificates carry host names."
    )


@group
class Objects:
    """S3 for the bytes of files and for archived state.

    Used as soon as MINIO_ENDPOINT or one of the two keys is given, or MINIO_USE_IAM is true; otherwise files
    lie in a folder below MILLRACE_DATA_DIR.
    """

    minio_endpoint: str = setting(
        "localhost:9000",
        "host:port of the S3 server, without a scheme. Naming it switches S3 on.",
        pattern=(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", "host or host:port without a scheme"),
        blank_in_template=True,
    )
    minio_access_key: Secret | None = setting(
        None, "Access key.", required_with="S3 is used without MINIO_USE_IAM"
    )
    minio_secret_key: Secret | None = setting(
        None, "Secret key.", required_with="S3 is used without MINIO_USE_IAM"
    )
    minio_secure: bool = setting(
        False,
        "Speak HTTPS to the S3 server. AWS_CA_BUNDLE names its authority (PEM), unless that is a public one.",
    )
    minio_bucket: str = setting(
        "millrace-files",
        "Bucket; made if missing. Files in it that Redis does not know are removed, so no other deployment "
        "may use it, except one on the same Redis with another REDIS_KEY_PREFIX.",
        pattern=_BUCKET,
    )
    minio_region: str = setting("us-east-1", "Region.", pattern=(r"[A-Za-z0-9-]+", "a region's name"))
    minio_use_iam: bool = setting(
        False,
        "Take credentials from the machine or the pod (IAM) instead of the two keys: from where "
        "AWS's SDKs look for them.",
    )


@group
class Files:
    """Bounds on files that go in and come out."""

    max_file_size_mb: int = setting(10, "MiB of one file, in or out.", at_least=1, at_most=1 << 20)
    max_total_file_size_mb: int = setting(
        50,
        "MiB of all files of one request together, of all output files, and of all files of one session.",
        at_least=1,
        at_most=1 << 20,
    )
    max_files_per_session: int = setting(
        50, "Files in one request and in one session.", at_least=1, at_most=100_000
    )
    max_output_files: int = setting(
        10, "Output files that are kept of one execution; the rest is reported.", at_least=0, at_most=100_000
    )
    max_filename_length: int = setting(
        255, "Characters of a file name, folders included.", at_least=1, at_most=4096
    )


@group
class Session:
    """Sessions: what executions of one conversation share."""

    max_sessions_per_entity: int = setting(
        100, "Sessions that one owner may have at a time; one more is refused.", at_least=1, at_most=1_000_000
    )
    session_ttl_hours: int = setting(
        24, "Hours after its last use at which a session ends.", at_least=1, at_most=8760
    )
    session_cleanup_interval_minutes: int = setting(
        10, "Minutes between two sweeps for what ended sessions left.", at_least=1, at_most=1440
    )
    session_id_length: int = setting(
        32,
        "Characters of ids that the native routes hand out. The compatible routes always use 21.",
        at_least=16,
        at_most=128,
    )


@group
class State:
    """Python variables that live on between the executions of a session."""

    state_persistence_enabled: bool = setting(True, "Save and restore Python state.")
    state_ttl_seconds: int = setting(
        7200, "Seconds after its last use for which state stays in Redis.", at_least=1, at_most=31_536_000
    )
    state_max_size_mb: int = setting(50, "MiB of one saved state, compressed.", at_least=1, at_most=512)
    state_capture_on_error: bool = setting(False, "Save state also when the code failed.")
    state_archive_enabled: bool = setting(
        True, "Move state that is not used to the file store before it would expire."
    )
    state_archive_after_seconds: int = setting(
        3600, "Seconds without use after which state is archived.", at_least=1, at_most=31_536_000
    )
    state_archive_ttl_days: int = setting(
        7, "Days for which archived state is kept.", at_least=1, at_most=3650
    )
    state_archive_check_interval_seconds: int = setting(
        300, "Seconds between two looks for state to archive.", at_least=1, at_most=86_400
    )
