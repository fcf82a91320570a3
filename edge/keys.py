"""API keys: which tenant a presented key stands for.

The key of `API_KEY` stands for the tenant `default`. Every key of `API_KEYS` stands for a tenant of its
own, named `key-` and the first 12 hex digits of the key's SHA-256: stable across restarts and the order
of the list, and telling nothing of the key. Rotating such a key therefore starts a new tenant.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from schemas.ids import TenantId

DEFAULT_TENANT = TenantId("default")
USER_PREFIX = "user-"
"""How the tenant of a single user begins, whom a token names."""


class Keyring:
    """The keys this service accepts. Holds digests only, so the keys cannot be printed from here."""

    def __init__(self, primary: str, others: Sequence[str] = ()) -> None:
        tenants = {_digest(key): TenantId(f"key-{_digest(key).hex()[:12]}") for key in others if key}
        if primary:
            tenants[_digest(primary)] = DEFAULT_TENANT
        self._tenants = tuple(tenants.items())

    def tenant_of(self, presented: Iterable[bytes]) -> TenantId | None:
        """Return the tenant of the first of `presented` that is a key of ours.

        Every presented key is compared with every key of ours whatever was found before, and digests
        instead of keys, so the time taken tells neither a prefix nor the length of a key.
        """
        found: TenantId | None = None
        for key in presented:
            digest = hashlib.sha256(key).digest()
            for ours, tenant in self._tenants:
                equal = hmac.compare_digest(digest, ours)
                found = tenant if equal and found is None else found
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
