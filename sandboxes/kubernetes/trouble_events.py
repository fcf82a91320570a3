"""Says in the cluster's own events why a pool cannot be filled: `kubectl get events` is where people look."""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from sandboxes.kubernetes.api import ApiError, KubernetesApi
from sandboxes.kubernetes.pod_names import Owner

_MESSAGE_LENGTH_MAX = 1000


class TroubleEvents:
    """One event each time the trouble of a language changes."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._told: dict[str, str] = {}

    async def tell(self, about: Owner, troubles: Mapping[str, str]) -> None:
        """Record what is new in `troubles`, by language, at the object `about`."""
        for language, trouble in troubles.items():
            if trouble != self._told.get(language, "") and trouble:
                with suppress(ApiError):  # events are news, nothing depends on them
                    await self._api.create("events", self._event(about, language, trouble))
            self._told[language] = trouble

    def _event(self, about: Owner, language: str, trouble: str) -> dict[str, object]:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about.name}.{secrets.token_hex(6)}"},
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "name": about.name,
                "namespace": self._api.namespace,
                "uid": about.uid,
            },
            "type": "Warning",
            "reason": "PoolCannotFill",
            "message": f"No ready pod for {language}: {trouble}"[:_MESSAGE_LENGTH_MAX],
            "source": {"component": "millrace-pool"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
