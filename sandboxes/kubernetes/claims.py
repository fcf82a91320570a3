"""Which pod is whose, in Redis: one step gives a ready pod to one handler, and never to another.

The pool registers a pod when it is ready, a handler claims it, and it is spent. Each name goes that way
once: what was known before is not registered again. Should Redis forget (flushed, or a failover that lost
the last writes), a pod could be handed out once more; its sidecar then refuses whoever comes second.

All keys begin with `{P}{millrace:pods:<instance>}:`, so that they share a slot of a cluster.

| key | type | holds |
|---|---|---|
| `ready:<language>` | list | names of pods that wait, the oldest first |
| `states` | hash | name to `ready`, `claimed:<holder>` or `spent` |
| `details` | hash | name to `PodRecord` as JSON |
| `claim:<id>` | string, expires | name of the pod that this claim got; empty if it was taken back |
| `holder:<id>` | string, expires | there while the handler lives |
| `wake` | list | at most one entry: the pool shall look now |
| `wanted` | set | languages that were asked for when none was ready |
| `secret` | string | from which the pods' secrets are made |
| `status` | string, expires | `PoolStatus` as JSON |
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import msgspec

from infra.redis import RedisClient, RedisConfig, commanding
from infra.redis_script import Script

HOLDER_TTL_S = 10
HOLD_EVERY_S = 3.0
STATUS_TTL_S = 30
_CLAIM_TTL_S = 600
"""How long a claim can be said again or be taken back."""
_WITHIN_S = 5.0
_CLAIMED = "claimed:"


class PodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler needs to know of a pod."""

    uid: str
    address: str
    language: str
    secret: str


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """How full one language's pool is."""

    size: int
    ready: int = 0
    starting: int = 0
    trouble: str = ""
    """Why it is not full, if something is wrong."""


class OwnerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The object that owns all pods."""

    name: str
    uid: str


class PoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the leading pool process says of itself."""

    leader: str
    owner: OwnerRecord
    levels: dict[str, Level] = {}
    trouble: str = ""
    """What is wrong with all of it, such as an API that is away."""


class Claims:
    """The register of pods of one Millrace."""

    def __init__(self, client: RedisClient, config: RedisConfig, instance: str) -> None:
        self._client: Any = client
        self._config = config
        self._base = f"{config.prefix}{{millrace:pods:{instance}}}:"
        self._states, self._details = f"{self._base}states", f"{self._base}details"
        self._wake, self._wanted = f"{self._base}wake", f"{self._base}wanted"

    # For handlers

    async def claim(
        self, language: str, holder: str, *, trigger: bool, claim_id: str | None = None
    ) -> tuple[str, PodRecord] | None:
        """Take a ready pod for `holder`; `trigger` has the pool look at once. Raises `Unavailable`.

        Then nobody knows whether a pod was taken: `take_back` the `claim_id`, which is new for each claim.
        """
        claim = self._claim(claim_id or new_claim_id())
        keys = [self._ready(language), self._states, self._details, self._wake, self._wanted, claim]
        async with commanding(self._config, _WITHIN_S):
            taken = await _CLAIM.run(self._client, keys, [holder, language, int(trigger), _CLAIM_TTL_S])
        if not taken:
            return None
        return _text(taken[0]), msgspec.json.decode(taken[1], type=PodRecord)

    async def take_back(self, claim_id: str) -> None:
        """Have a claim taken no pod, whether it was carried out, or still will be. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            await _TAKE_BACK.run(self._client, [self._states, self._claim(claim_id)], [_CLAIM_TTL_S])

    async def spend(self, name: str) -> None:
        """Say that a claimed pod is used up, wherever it is. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            await self._client.hset(self._states, name, "spent")

    async def hold(self, holder: str) -> None:
        """Say that `holder` lives, for `HOLDER_TTL_S`. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            await self._client.set(self._holder(holder), "1", ex=HOLDER_TTL_S)

    async def let_go(self, holder: str) -> None:
        """Say that `holder` is gone; what it still has is deleted. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            await self._client.delete(self._holder(holder))

    async def status(self) -> PoolStatus | None:
        """Return what the pool said last; None if no pool works. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            said = await self._client.get(f"{self._base}status")
        return msgspec.json.decode(said, type=PoolStatus) if said else None

    # For the pool

    async def register(self, name: str, record: PodRecord) -> bool:
        """Make a pod ready to be claimed; False if it was known before. Raises `Unavailable`."""
        keys = [self._ready(record.language), self._states, self._details]
        async with commanding(self._config, _WITHIN_S):
            return bool(await _REGISTER.run(self._client, keys, [name, msgspec.json.encode(record)]))

    async def withdraw(self, name: str, language: str, state: str) -> bool:
        """Take a pod out for good; False if its state is no longer `state`. Raises `Unavailable`."""
        keys = [self._ready(language), self._states]
        async with commanding(self._config, _WITHIN_S):
            return bool(await _WITHDRAW.run(self._client, keys, [name, state]))

    async def forget(self, name: str, languages: Iterable[str]) -> None:
        """Drop what is known of a pod that is gone. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            for language in languages:
                await self._client.lrem(self._ready(language), 0, name)
            await self._client.hdel(self._details, name)
            await self._client.hdel(self._states, name)

    async def states(self) -> dict[str, str]:
        """Return every known pod with its state. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            found: Mapping[Any, Any] = await self._client.hgetall(self._states)
        return {_text(name): _text(state) for name, state in found.items()}

    async def living(self, holders: Iterable[str]) -> set[str]:
        """Return those of `holders` that live. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            return {holder for holder in holders if await self._client.exists(self._holder(holder))}

    async def wanted(self) -> set[str]:
        """Return the languages that were asked for in vain. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            return {_text(language) for language in await self._client.smembers(self._wanted)}

    async def wait(self, most_s: float) -> None:
        """Return when somebody wants the pool to look, at the latest after `most_s`. Raises `Unavailable`."""
        async with commanding(self._config, most_s + _WITHIN_S):
            await self._client.blpop([self._wake], timeout=most_s)

    async def tell(self, status: PoolStatus) -> None:
        """Say how the pool is doing. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            await self._client.set(f"{self._base}status", msgspec.json.encode(status), ex=STATUS_TTL_S)

    async def secret(self) -> bytes:
        """Return what the pods' secrets are made from, making it if there is none. Raises `Unavailable`."""
        async with commanding(self._config, _WITHIN_S):
            await self._client.set(f"{self._base}secret", secrets.token_hex(32), nx=True)
            return bytes(await self._client.get(f"{self._base}secret"))

    def _ready(self, language: str) -> str:
        return f"{self._base}ready:{language}"

    def _claim(self, claim_id: str) -> str:
        return f"{self._base}claim:{claim_id}"

    def _holder(self, holder: str) -> str:
        return f"{self._base}holder:{holder}"


def new_claim_id() -> str:
    """Return a word for one claim alone."""
    return secrets.token_hex(8)


def holder_of(state: str) -> str:
    """Return whose a pod is by its state; empty if it is nobody's."""
    return state.removeprefix(_CLAIMED) if state.startswith(_CLAIMED) else ""


def secret_of(name: str, root: bytes) -> str:
    """Return the secret of the pod `name`, so that a pool that was started anew knows it too."""
    return hmac.new(root, name.encode(), hashlib.sha256).hexdigest()


def digest_of(secret: str) -> str:
    """Return what the sidecar is told of its secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _script(name: str) -> Script:
    return Script(resources.files(__package__).joinpath("lua", f"{name}.lua").read_text())


_CLAIM, _TAKE_BACK = _script("claim"), _script("take_back")
_REGISTER, _WITHDRAW = _script("register"), _script("withdraw")


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
