"""Users that a chat front end vouches for with a signed token (RFC 7519).

A token is good for its issuer and audience, for a few minutes, and only signed by a key that the
operator named, with the one algorithm that fits that key: what a token says of its own algorithm
chooses nothing. The owner of a user's files is derived from tenant and subject.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from edge.keys import USER_PREFIX
from infra.errors import Misconfigured
from schemas.ids import TenantId

_TOKEN_BYTES_MAX = 8 * 1024
_RSA_BITS_MIN = 2048
_DEFAULT_TENANT = "legacy"
"""The tenant of front ends that know only one."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the only algorithm it is used with."""

    key: Ed25519PublicKey | RSAPublicKey
    algorithm: str


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a good token says of itself."""

    issuer: str = "librechat"
    audience: str = "codeapi"
    lifetime_s_max: int = 300
    leeway_s: int = 10


class JwtUsers:
    """Checks tokens against keys by `kid`; a key without one is for tokens that name no known key."""

    def __init__(self, keys: Mapping[str | None, VerifyingKey], rules: TokenRules) -> None:
        self._keys = keys
        self._rules = rules

    def tenant_of(self, token: bytes) -> TenantId | None:
        """Return the tenant that stands for the token's user, or None if the token is not good."""
        if token.count(b".") != 2 or len(token) > _TOKEN_BYTES_MAX:
            return None
        try:
            claims = self._claims(token)
        except (jwt.PyJWTError, UnicodeDecodeError):
            return None
        return _tenant(claims) if self._is_short_lived(claims) else None

    def _claims(self, token: bytes) -> dict[str, Any]:
        kid = jwt.get_unverified_header(token).get("kid")
        chosen = self._keys.get(kid) or self._keys.get(None)
        if chosen is None:
            raise jwt.InvalidKeyError
        claims: dict[str, Any] = jwt.decode(
            token,
            chosen.key,
            algorithms=[chosen.algorithm],
            audience=self._rules.audience,
            issuer=self._rules.issuer,
            leeway=self._rules.leeway_s,
            options={"require": ["exp", "iat", "sub"]},
        )
        return claims

    def _is_short_lived(self, claims: Mapping[str, Any]) -> bool:
        return bool(claims["exp"] - claims["iat"] <= self._rules.lifetime_s_max)


def load_users(pem: Path | None, jwks: Path | None, rules: TokenRules) -> JwtUsers:
    """Return users by the keys in the files. Raises `Misconfigured` for what cannot be used."""
    keys: dict[str | None, VerifyingKey] = {}
    if jwks is not None:
        keys |= _from_jwks(jwks)
    if pem is not None:
        keys[None] = _from_pem(pem)
    if not keys:
        raise Misconfigured(
            "CODEAPI_JWT_ENABLED needs CODEAPI_JWT_PUBLIC_KEY_FILE or CODEAPI_JWT_JWKS_FILE with a key in it"
        )
    return JwtUsers(keys, rules)


def _from_pem(path: Path) -> VerifyingKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Misconfigured(f"CODEAPI_JWT_PUBLIC_KEY_FILE: {path} is no public key in PEM form") from error
    return _usable(key, f"CODEAPI_JWT_PUBLIC_KEY_FILE: {path}")


def _from_jwks(path: Path) -> dict[str | None, VerifyingKey]:
    try:
        found = jwt.PyJWKSet.from_dict(json.loads(path.read_bytes())).keys
    except (OSError, ValueError, AttributeError, jwt.PyJWTError) as error:
        raise Misconfigured(f"CODEAPI_JWT_JWKS_FILE: {path} is no JSON Web Key Set") from error
    usable = {each.key_id: _usable(each.key, f"CODEAPI_JWT_JWKS_FILE: {path}") for each in found}
    if None in usable and len(found) > 1:
        raise Misconfigured(f"CODEAPI_JWT_JWKS_FILE: of several keys in {path} each needs a kid")
    return usable


def _usable(key: object, where: str) -> VerifyingKey:
    if isinstance(key, Ed25519PublicKey):
        return VerifyingKey(key, "EdDSA")
    if isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS_MIN:
        return VerifyingKey(key, "RS256")
    raise Misconfigured(f"{where} needs public Ed25519 keys, or RSA keys from {_RSA_BITS_MIN} bits")


def _tenant(claims: Mapping[str, Any]) -> TenantId | None:
    """Return one name for tenant and subject, whatever characters are in them."""
    tenant, subject = claims.get("tenant_id") or _DEFAULT_TENANT, claims["sub"]
    if not (isinstance(tenant, str) and isinstance(subject, str) and subject):
        return None
    digest = hashlib.sha256(json.dumps([tenant, subject]).encode()).hexdigest()
    return TenantId(f"{USER_PREFIX}{digest[:32]}")
