"""A real service, and real clients of every generation that talk to it, each as its host sets it up."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.brokers import absent, free_port
from tests.clients.conversation import Conversation
from tests.clients.packages import client_packages
from tests.process.processes import Serve

KEY = "test-api-key"
_SIGNING = Ed25519PrivateKey.generate()

Talk = Callable[..., Conversation]


@pytest.fixture(scope="session")
def packages() -> dict[str, Path]:
    """The package of each generation."""
    return client_packages()


@pytest.fixture(scope="session")
def service(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """One `millrace serve` for all conversations, which takes keys and tokens."""
    if shutil.which("bwrap") is None:
        absent("bubblewrap is not installed")
    folder = tmp_path_factory.mktemp("clients")
    public = _SIGNING.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    settings = {"CODEAPI_JWT_ENABLED": "true", "CODEAPI_JWT_PUBLIC_KEY_FILE": str(folder / "public.pem")}
    serve = Serve(folder / "a folder", free_port(), **settings)
    try:
        yield serve.ready()
    finally:
        serve.process.terminate()
        serve.process.wait(timeout=60)


@pytest.fixture(scope="session")
def clients(packages: dict[str, Path], service: Serve) -> Iterator[dict[str, Conversation]]:
    """One process for each generation, started when it is first asked for."""
    running = _Clients(packages, service.url)
    yield running
    for client in running.values():
        client.close()


class _Clients(dict[str, Conversation]):
    def __init__(self, packages: dict[str, Path], url: str) -> None:
        self._packages = packages
        self._url = url

    def __missing__(self, generation: str) -> Conversation:
        keyed = self._url.replace("//", f"//{KEY}@")
        # With and without a slash at the end, and the key in it as the one way left in generation C.
        base_url = {"C": f"{keyed}/v1/", "D": f"{self._url}/v1/"}.get(generation, f"{self._url}/v1")
        self[generation] = Conversation(self._packages[generation], base_url)
        return self[generation]


@pytest.fixture
def talk(clients: dict[str, Conversation], service: Serve) -> Talk:
    """Begin conversations: `talk("A")`, or `talk("D", user="anna")`, each as its host sets it up.

    A and B know a key, C has it in the URL, D asks its host for headers and gets a token.
    """

    def begin(generation: str, user: str = "user-1") -> Conversation:
        match generation:
            case "A" | "B":
                # Of B the programmatic tools send no key but one that is in their address.
                params = {"apiKey": KEY, "baseUrl": service.url.replace("//", f"//{KEY}@") + "/v1"}
                return clients[generation].begin(params=params, headers={"X-API-Key": KEY})
            case "C":
                return clients[generation].begin(params={})
            case _:
                return clients[generation].begin(params={}, token=_token(user))

    return begin


def _token(user: str) -> str:
    """Return a token as LibreChat mints it."""
    now = int(time.time())
    claims = {"iss": "librechat", "aud": "codeapi", "sub": user, "tenant_id": "legacy", "role": "USER"}
    times = {"iat": now, "nbf": now, "exp": now + 300}
    return jwt.encode({**claims, **times}, _SIGNING, "EdDSA", headers={"kid": "lc-codeapi-2026-05"})
