"""Settings of single users: who vouches for them, and how much each may ask."""

from pathlib import Path

from infra.settings.declare import group, setting


@group
class Jwt:
    """Signed tokens that name the user who asks, as LibreChat mints them.

    Every user is an owner of his own then: nobody sees the files of another. API keys go on working.
    """

    codeapi_jwt_enabled: bool = setting(
        False,
        "Accept `Authorization: Bearer <JWT>`. Needs CODEAPI_JWT_PUBLIC_KEY_FILE or CODEAPI_JWT_JWKS_FILE.",
    )
    codeapi_jwt_public_key_file: Path | None = setting(
        None, "Public key of whoever mints the tokens, PEM: Ed25519 (EdDSA) or RSA from 2048 bits (RS256)."
    )
    codeapi_jwt_jwks_file: Path | None = setting(
        None, "The same as a JSON Web Key Set, for several keys at a time; `kid` in a token chooses."
    )
    codeapi_jwt_issuer: str = setting("librechat", "What `iss` must be.")
    codeapi_jwt_audience: str = setting("codeapi", "What `aud` must be.")
    codeapi_jwt_lifetime_seconds_max: int = setting(
        300, "Seconds between `iat` and `exp` at most.", at_least=1, at_most=86_400
    )
    codeapi_jwt_leeway_seconds: int = setting(
        10, "Seconds by which clocks may differ.", at_least=0, at_most=300
    )


@group
class UserLimits:
    """How much one user may ask, if RATE_LIMIT_ENABLED; 0 is without limit.

    These are for users that a token names. An API key of the operator stands for a whole service and is
    not limited here.
    """

    millrace_user_runs_per_minute: int = setting(120, "Runs.", at_least=0, at_most=1_000_000)
    millrace_user_uploads_per_minute: int = setting(120, "Uploads.", at_least=0, at_most=1_000_000)
    millrace_user_downloads_per_minute: int = setting(240, "Downloads.", at_least=0, at_most=1_000_000)
    millrace_user_listings_per_minute: int = setting(
        600, "Listings of files, and looks whether one lives.", at_least=0, at_most=1_000_000
    )
