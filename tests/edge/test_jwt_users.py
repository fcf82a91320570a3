"""Users that a front end vouches for: whose token is good, and what each of them sees."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.jwt_users import JwtUsers, TokenRules, load_users
from infra.errors import Misconfigured
from tests.edge.forms import form

ED, OTHER_ED = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
RSA = generate_rsa(65537, 2048)
KID = "lc-codeapi-2026-05"

Users = Callable[..., JwtUsers]


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(key: Any, kid: str | None) -> dict[str, Any]:
    kinds = {"Ed25519PrivateKey": jwt.algorithms.OKPAlgorithm, "RSAPrivateKey": jwt.algorithms.RSAAlgorithm}
    kind = next(kind for name, kind in kinds.items() if name in type(key).__name__)
    return json.loads(kind.to_jwk(key.public_key())) | ({"kid": kid} if kid else {})


def token(key: Any = ED, algorithm: str = "EdDSA", kid: str | None = KID, **changed: Any) -> str:
    """A token as LibreChat mints it, with claims changed, or left out where they are None."""
    now = int(time.time())
    claims = {"iss": "librechat", "aud": "codeapi", "sub": "user-1", "tenant_id": "legacy", "jti": "j"}
    claims |= {"iat": now, "nbf": now, "exp": now + 300, "role": "USER", "principal_source": "librechat_jwt"}
    claims = {name: value for name, value in (claims | changed).items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else None)


@pytest.fixture
def users(tmp_path: Path) -> Users:
    """Load users by PEM bytes or a key set."""

    def load(key: bytes | None = None, keys: list[Any] | None = None) -> JwtUsers:
        pem_file, jwks_file = tmp_path / "key.pem", tmp_path / "keys.json"
        if key is not None:
            pem_file.write_bytes(key)
        if keys is not None:
            jwks_file.write_text(json.dumps({"keys": keys}))
        given = [file if there is not None else None for file, there in ((pem_file, key), (jwks_file, keys))]
        return load_users(*given, TokenRules())

    return load


@pytest.fixture
async def house(make_house: Any, users: Users) -> Any:
    """An edge that knows keys and tokens, asked without either."""
    house = await make_house(users=users(pem(ED)))
    del house.client.headers["x-api-key"]
    return house


def bearer(**changed: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token(**changed)}"}


@pytest.mark.parametrize("kid", [KID, "another", None])
def test_one_key_is_good_for_tokens_of_any_kid(users: Users, kid: str | None) -> None:
    """Ed25519 and RSA, each with its own algorithm."""
    assert users(pem(ED)).tenant_of(token(kid=kid).encode())
    assert users(pem(RSA)).tenant_of(token(RSA, "RS256", kid=kid).encode())


def test_of_several_keys_the_kid_chooses(users: Users) -> None:
    """So that keys can be changed without a gap."""
    known = users(keys=[jwk(ED, "a"), jwk(RSA, "b")])
    assert known.tenant_of(token(ED, kid="a").encode())
    assert known.tenant_of(token(RSA, "RS256", kid="b").encode())
    assert not known.tenant_of(token(ED, kid="b").encode())
    assert not known.tenant_of(token(ED, kid="c").encode())


NOW = int(time.time())
"""When this file was read; a run of all tests may reach it much later."""
A_DAY = 86_400


@pytest.mark.parametrize(
    "changed",
    [
        {"key": OTHER_ED},
        {"iss": "somebody"},
        {"iss": None},
        {"aud": "another service"},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"tenant_id": ["x"]},
        {"exp": None},
        {"iat": None},
        {"exp": NOW - A_DAY},
        {"nbf": NOW + A_DAY},
        {"iat": NOW + A_DAY, "exp": NOW + A_DAY + 100},
        {"exp": NOW + A_DAY},
        {"key": "a secret of some length for the symmetric", "algorithm": "HS256"},
        {"key": "", "algorithm": "none"},
        {"key": RSA, "algorithm": "RS256"},
        {"key": generate_private_key(SECP256R1()), "algorithm": "ES256"},
    ],
)
async def test_a_token_that_is_not_good_is_a_wrong_key(house: Any, changed: dict[str, Any]) -> None:
    """Signed by another, for another, too old, too long-lived, or with an algorithm of its own choice."""
    answer = await house.client.get("/languages", headers=bearer(**changed))
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")


def test_the_public_key_is_no_secret_to_sign_with(users: Users) -> None:
    """The classic: a token that calls the public key a shared secret."""
    import base64
    import hashlib
    import hmac

    def part(data: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=")

    claims = {
        "iss": "librechat",
        "aud": "codeapi",
        "sub": "u",
        "iat": int(time.time()),
        "exp": int(time.time()) + 300,
    }
    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    mac = hmac.new(pem(ED), signed, hashlib.sha256).digest()
    assert not users(pem(ED)).tenant_of(signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"="))


JUNK = [b"a.b.c", b"..", b"\xff.\xff.\xff", b"a" * 9000 + b".b.c", b"", b"e30.e30."]


@pytest.mark.parametrize("junk", JUNK)
def test_what_is_no_token_is_a_wrong_key(users: Users, junk: bytes) -> None:
    """Never an error of ours."""
    assert users(pem(ED)).tenant_of(junk) is None


async def test_each_user_is_an_owner_of_his_own(house: Any) -> None:
    """By tenant and subject together; an operator's key owns none of it."""
    mine = bearer()
    sent = form(("file", "a.txt", b"mine"))
    sent["headers"] |= mine
    told = (await house.client.post("/upload", **sent)).json()
    path = f"/download/{told['session_id']}/{told['files'][0]['fileId']}"
    others = [bearer(sub="user-2"), bearer(tenant_id="acme"), {"x-api-key": "the-key-of-these-tests"}]
    assert (await house.client.get(path, headers=bearer())).content == b"mine"
    assert (await house.client.get(path, headers=bearer(tenant_id=None))).content == b"mine"
    for headers in others:
        assert (await house.client.get(path, headers=headers)).status_code == 404


def test_no_two_users_share_a_name_and_the_name_tells_nothing(users: Users) -> None:
    """Whatever separators are in their ids."""
    known = users(pem(ED))
    pairs = [("a", "b:c"), ("a:b", "c"), ("a", "b"), ("default", "default")]
    names = [known.tenant_of(token(tenant_id=one, sub=two).encode()) for one, two in pairs]
    assert len(set(names)) == len(pairs)
    assert all(name.startswith("user-") and len(name) == 37 for name in names)


async def test_two_owners_in_one_request_are_ambiguous(house: Any, keys: tuple[str, str]) -> None:
    """Neither is preferred; a wrong key beside a good token is only that."""
    both = await house.client.get("/languages", headers={**bearer(), "x-api-key": keys[0]})
    assert (both.status_code, both.json()["error"]) == (400, "ambiguous_authentication")
    wrong = await house.client.get("/languages", headers={**bearer(), "x-api-key": "wrong"})
    assert wrong.status_code == 200


async def test_without_the_setting_a_token_is_a_wrong_key(make_house: Any) -> None:
    """However well it is signed."""
    house = await make_house()
    del house.client.headers["x-api-key"]
    assert (await house.client.get("/languages", headers=bearer())).status_code == 401


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (b"no key", None),
        (pem(generate_rsa(65537, 1024)), None),
        (pem(generate_private_key(SECP256R1())), None),
        (None, []),
        (None, [{"kty": "oct", "k": "c2VjcmV0"}]),
        (None, [{"x": 1}]),
        (None, [jwk(ED, None), jwk(RSA, "b")]),
        (None, None),
    ],
)
def test_keys_that_cannot_be_used_are_told_at_the_start(
    users: Users, content: bytes | None, keys: list[Any] | None
) -> None:
    """Too short, of a kind that is not used, secret, or none at all."""
    with pytest.raises(Misconfigured, match="CODEAPI_JWT"):
        users(content, keys)


async def test_a_user_who_asks_too_much_is_told_when_to_come_back(make_house: Any, users: Users) -> None:
    """By kind and by user; a key of the operator is not counted."""
    house = await make_house(users=users(pem(ED)), user_limits_per_minute={"listings": 2, "runs": 0})
    get, path = house.client.get, f"/files/{'S' * 21}"
    anna, boris = bearer(sub="anna"), bearer(sub="boris")
    del house.client.headers["x-api-key"]
    assert [(await get(path, headers=anna)).status_code for _ in range(3)] == [200, 200, 429]
    late = await get(f"/v1/sessions/{'S' * 21}/objects/x", headers=anna)
    told = late.json()
    assert (late.status_code, told["error"]) == (429, "rate_limited")
    assert 0 < told["retry_after_seconds"] == int(late.headers["retry-after"]) <= 60
    assert (await get(path, headers=boris)).status_code == 200
    assert (await get("/languages", headers=anna)).status_code == 200
    key = {"x-api-key": "the-key-of-these-tests"}
    assert {(await get(path, headers=key)).status_code for _ in range(4)} == {200}
