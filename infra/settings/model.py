"""All settings as one immutable object, and what follows from several of them together."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from infra.settings.millrace import Delivery, Processes, Requests
from infra.settings.nats import Nats
from infra.settings.sandboxing import Gvisor, Kubernetes, Languages, Limits, Pool, Security
from infra.settings.secret import Secret
from infra.settings.service import Api, Auth, Development, Health, Https, Logging
from infra.settings.stores import Files, Objects, Redis, Session, State
from infra.settings.users import Jwt, UserLimits
from schemas.limits import SandboxLimits
from schemas.validate import Bounds

_MIB = 1024 * 1024
_CPU_PERIOD_US = 100_000
_REDIS_ADDRESS = {"REDIS_HOST", "REDIS_PORT", "REDIS_URL"}
_LOOPBACK = {"localhost", "::1", "ip6-localhost"}


class DeliveryNumbers(TypedDict):
    """The arguments of `streams.protocol.DeliveryPolicy`, which this room must not import."""

    lease_s: float
    attempts_max: int
    log_retention_s: float
    log_entries_max: int
    log_bytes_max: int
    results_max: int
    dead_letters_max: int


class LogOptions(TypedDict):
    """The arguments of `infra.logs.configure_logs`."""

    level: str
    json: bool
    file: Path | None
    file_bytes_max: int
    file_backups: int
    secrets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Settings(
    Api, Https, Auth, Jwt, UserLimits, Redis, Nats, Objects, Kubernetes, Gvisor, Limits, Files, Session, Pool,
    State, Security, Logging, Health, Development, Languages, Processes, Delivery, Requests,
):  # fmt: skip
    """Every setting as an attribute in lower case: `settings.api_port`. Secrets do not print."""

    given: frozenset[str] = field(default=frozenset(), repr=False)
    """Public names that the environment or the `.env` file sets; the others stand at their defaults."""

    @property
    def redis_configured(self) -> bool:
        """Whether an operator named a Redis server; otherwise `serve` starts its own."""
        return self.redis_mode != "standalone" or bool(self.given & _REDIS_ADDRESS)

    @property
    def redis_speaks_tls(self) -> bool:
        """Whether connections to Redis are encrypted: by REDIS_TLS_ENABLED or a rediss:// URL."""
        url = self.redis_url
        return self.redis_tls_enabled or (url is not None and url.reveal().startswith("rediss:"))

    @property
    def nats_speaks_tls(self) -> bool:
        """Whether connections to NATS are encrypted: by NATS_TLS_ENABLED or a tls:// URL."""
        return self.nats_tls_enabled or any(url.reveal().startswith("tls:") for url in self.nats_url)

    @property
    def s3_configured(self) -> bool:
        """Whether files go to S3; otherwise into a folder below `millrace_data_dir`."""
        keys = self.minio_access_key or self.minio_secret_key
        return bool(keys or self.minio_use_iam or "MINIO_ENDPOINT" in self.given)

    @property
    def accepted_keys(self) -> tuple[Secret, ...]:
        """API_KEY and all of API_KEYS."""
        return (self.api_key, *self.api_keys)

    @property
    def default_key_exposed(self) -> bool:
        """Whether other machines could use the public default key: the edge must not start like this."""
        uses_default = any(key == Auth.api_key for key in self.accepted_keys)
        return uses_default and not self.api_debug and not is_loopback(self.api_host)

    @property
    def https_cert_file(self) -> Path:
        """The certificate that HTTPS uses."""
        return self.ssl_cert_file or self.ssl_certs_path / "cert.pem"

    @property
    def https_key_file(self) -> Path:
        """The private key that HTTPS uses."""
        return self.ssl_key_file or self.ssl_certs_path / "key.pem"

    def bounds(self) -> Bounds:
        """Return what a request may carry."""
        return Bounds(
            code_bytes_max=self.millrace_code_bytes_max,
            stdin_bytes_max=self.millrace_stdin_bytes_max,
            files_max=self.max_files_per_session,
            file_bytes_max=self.max_file_size_mb * _MIB,
            files_bytes_max=self.max_total_file_size_mb * _MIB,
            file_name_length_max=self.max_filename_length,
        )

    def sandbox_limits(self) -> SandboxLimits:
        """Return what one execution may use unless it asks for less."""
        return SandboxLimits(
            timeout_s=float(self.max_execution_time),
            memory_bytes_max=self.max_memory_mb * _MIB,
            cpus=self.max_cpu_quota / _CPU_PERIOD_US,
            pids_max=self.max_pids,
            open_files_max=self.max_open_files,
            file_bytes_max=self.max_file_size_mb * _MIB,
            files_bytes_max=self.max_total_file_size_mb * _MIB,
            files_max=self.max_output_files,
            output_bytes_max=self.millrace_output_bytes_max,
        )

    def delivery_policy(self) -> DeliveryNumbers:
        """Return the numbers of delivery: `DeliveryPolicy(**settings.delivery_policy())`."""
        return DeliveryNumbers(
            lease_s=self.millrace_lease_seconds,
            attempts_max=self.millrace_attempts_max,
            log_retention_s=self.millrace_log_retention_seconds,
            log_entries_max=self.millrace_log_entries_max,
            log_bytes_max=self.millrace_log_bytes_max,
            results_max=self.millrace_results_max,
            dead_letters_max=self.millrace_dead_letters_max,
        )

    def log_options(self) -> LogOptions:
        """Return how to log: `configure_logs(**settings.log_options())`."""
        return LogOptions(
            level=self.log_level,
            json=self.log_format == "json",
            file=self.log_file,
            file_bytes_max=self.log_max_size_mb * _MIB,
            file_backups=self.log_backup_count,
            secrets=tuple(part for secret in self.secrets() for part in secret.hidden()),
        )

    def secrets(self) -> tuple[Secret, ...]:
        """Return every secret that was given, so that logs can be kept free of them."""
        optional = (
            self.master_api_key,
            self.redis_password,
            self.redis_sentinel_password,
            self.redis_url,
            self.minio_access_key,
            self.minio_secret_key,
        )
        given = (*self.accepted_keys, *(secret for secret in optional if secret is not None))
        return tuple(secret for secret in given if secret != Auth.api_key)


def is_loopback(host: str) -> bool:
    """Tell whether `host` can only be this machine."""
    return host.lower() in _LOOPBACK or host.startswith("127.")
