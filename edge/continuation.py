"""Continuation tokens: which run goes on, whose it is and which calls it waits for, signed.

The key is made of settings that every edge of one service shares, API_KEY and the password of Redis, so that
any edge can go on with what another began and nothing more need be set. A token lets nobody in: whoever
sends it says who he is as in any other request.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from edge.refusals import refuse
from schemas.ids import CallId, ExecutionId, TenantId

_SALT = "millrace.continuation"


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a token says."""

    execution_id: ExecutionId
    tenant: TenantId
    calls: Sequence[CallId]
    """Those that were told with the token: each needs a result."""


class Continuations:
    """Writes and reads tokens. One lives for `lifetime_s` seconds; each answer brings a new one."""

    def __init__(self, key: bytes, lifetime_s: float) -> None:
        self._serializer = URLSafeTimedSerializer(
            key, salt=_SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
        )
        self._lifetime_s = lifetime_s

    def write(self, continuation: Continuation) -> str:
        """Return the token."""
        said = [continuation.execution_id, continuation.tenant, list(continuation.calls)]
        token: str = self._serializer.dumps(said)
        return token

    def read(self, token: str, tenant: TenantId) -> Continuation:
        """Return what a token of `tenant` says.

        Raises `Refusal`: 400 if we did not write it, 403 if it is somebody else's, 404 if it is too old.
        """
        try:
            execution_id, owner, calls = self._serializer.loads(token, max_age=int(self._lifetime_s))
        except SignatureExpired:
            raise unknown() from None
        except (BadData, ValueError, TypeError):
            raise refuse(400, "invalid_request", "Invalid continuation token", "continuation_token") from None
        if owner != tenant:
            message = "The continuation token belongs to somebody else."
            raise refuse(403, "unauthorized_continuation", message, "continuation_token")
        return Continuation(execution_id, owner, calls)


def unknown() -> Exception:
    """Return the refusal of a run that is not there any more."""
    message = "There is no run with this continuation token, or no longer."
    return refuse(404, "unknown_continuation", message, "continuation_token")


def signing_key(*shared: str) -> bytes:
    """Return the key for tokens, made of secrets that all edges share."""
    words = b"\0".join(word.encode() for word in shared)
    return hmac.new(words, _SALT.encode(), hashlib.sha256).digest()
