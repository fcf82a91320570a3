"""The broker that `serve` brings along where none is configured, and settings that lead to it alone."""

from dataclasses import replace
from typing import Any

from infra.process.broker import EmbeddedBroker
from infra.settings import Settings
from infra.settings.secret import SecretUrl


def own_broker(settings: Settings) -> EmbeddedBroker | None:
    """Return it, whether it runs or not; None where the settings name another."""
    return None if settings.redis_configured else EmbeddedBroker(settings.millrace_data_dir / "broker")


def on_own_broker(settings: Settings, broker: EmbeddedBroker) -> Settings:
    """Return `settings` with nothing in them that is meant for another broker."""
    changes: dict[str, Any] = {
        "redis_url": SecretUrl(broker.url),
        "redis_password": None,
        "millrace_redis_username": "",
        "redis_tls_enabled": False,
        "redis_db": 0,
    }
    return replace(settings, **changes)
