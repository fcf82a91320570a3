"""What the settings say to the edge: read at the door, so that nothing further in goes looking."""

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edge.config import EdgeConfig
from edge.continuation import signing_key
from edge.keys import Keyring
from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.pages import page_files
from infra.settings.model import Settings
from streams.bodies import carrier_of, names_of

if TYPE_CHECKING:
    from edge.jwt_users import JwtUsers


def config_of(settings: Settings) -> EdgeConfig:
    """Return what `settings` say to the edge."""
    return EdgeConfig(
        keys=Keyring(settings.api_key.reveal(), [key.reveal() for key in settings.api_keys]),
        users=_users(settings),
        key_header=settings.api_key_header,
        user_limits_per_minute=_user_limits(settings) if settings.rate_limit_enabled else {},
        trusted_network=settings.millrace_trusted_network,
        bounds=settings.bounds(),
        body_bytes_max=settings.millrace_body_bytes_max,
        state_bytes_max=settings.state_max_size_mb * 1024 * 1024,
        output_bytes_max=settings.millrace_output_bytes_max,
        execution_s_max=float(settings.max_execution_time),
        sync_wait_s_max=settings.millrace_sync_wait_seconds_max,
        when_client_leaves=settings.millrace_sync_disconnect,
        continuation_key=signing_key(settings.api_key.reveal(), _redis_password(settings)),
        continuation_s=settings.millrace_tool_wait_seconds_max + 60,
        waiting_max=settings.millrace_queue_max,
        tenant_waiting_max=settings.millrace_tenant_queue_max,
        health_timeout_s=float(settings.health_check_timeout),
        # A line that is below the level costs as much as half a request all the same.
        access_logs=settings.enable_access_logs and settings.log_level in ("DEBUG", "INFO"),
        security_logs=settings.enable_security_logs,
        cors_origins=settings.cors_origins if settings.enable_cors else (),
        docs=settings.enable_docs,
        stream_names=names_of(settings),
        stream_carrier=carrier_of(settings),
        page_files=page_files(cache_folder(os.environ)),
    )


def _users(settings: Settings) -> "JwtUsers | None":
    if not settings.codeapi_jwt_enabled:
        return None
    # Only those who use tokens pay for the cryptography, which takes ten megabytes.
    from edge.jwt_users import TokenRules, load_users  # noqa: PLC0415

    rules = TokenRules(
        issuer=settings.codeapi_jwt_issuer,
        audience=settings.codeapi_jwt_audience,
        lifetime_s_max=settings.codeapi_jwt_lifetime_seconds_max,
        leeway_s=settings.codeapi_jwt_leeway_seconds,
    )
    return load_users(settings.codeapi_jwt_public_key_file, settings.codeapi_jwt_jwks_file, rules)


def _redis_password(settings: Settings) -> str:
    """Return what all edges know of Redis, however each of them spells its address."""
    if settings.redis_url is not None:
        return urlsplit(settings.redis_url.reveal()).password or ""
    return settings.redis_password.reveal() if settings.redis_password is not None else ""


def _user_limits(settings: Settings) -> dict[str, int]:
    return {
        "runs": settings.millrace_user_runs_per_minute,
        "uploads": settings.millrace_user_uploads_per_minute,
        "downloads": settings.millrace_user_downloads_per_minute,
        "listings": settings.millrace_user_listings_per_minute,
    }


def refuse_default_key(settings: Settings) -> None:
    """Raise `Misconfigured` if other machines could come in with the key that everybody knows."""
    if settings.default_key_exposed:
        raise Misconfigured(
            f"API_HOST is {settings.api_host}, which other machines can reach, and the public default key "
            "is still accepted. Set API_KEY to a secret of your own and keep the default out of API_KEYS; "
            "or set API_HOST=127.0.0.1; or API_DEBUG=true on a network you trust."
        )
