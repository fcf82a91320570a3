"""The register of pods, on a real Redis: one pod, one handler, once."""

import asyncio

import pytest

from sandboxes.kubernetes.claims import (
    Claims,
    Level,
    OwnerRecord,
    PodRecord,
    PoolStatus,
    holder_of,
    secret_of,
)


def record(language: str = "py") -> PodRecord:
    return PodRecord(uid="u", address="10.0.0.1", language=language, secret="s")


async def test_a_registered_pod_is_claimed_once(claims: Claims) -> None:
    assert await claims.register("a", record())
    assert await claims.claim("py", "h1", trigger=True) == ("a", record())
    assert await claims.claim("py", "h2", trigger=True) is None
    assert holder_of((await claims.states())["a"]) == "h1"


async def test_the_pod_that_waited_longest_goes_first(claims: Claims) -> None:
    for name in ("a", "b", "c"):
        await claims.register(name, record())
    taken = [await claims.claim("py", "h", trigger=False) for _ in range(3)]
    assert [pod[0] for pod in taken if pod] == ["a", "b", "c"]


async def test_two_hundred_claims_at_once_get_two_hundred_pods(claims: Claims) -> None:
    for number in range(200):
        await claims.register(f"pod-{number}", record())
    taken = await asyncio.gather(*(claims.claim("py", f"h{n % 7}", trigger=True) for n in range(250)))
    names = [pod[0] for pod in taken if pod]
    assert len(names) == len(set(names)) == 200


async def test_a_claim_that_is_said_again_gets_the_same_pod(claims: Claims) -> None:
    """As a client does whose connection broke before the answer came."""
    for name in ("a", "b"):
        await claims.register(name, record())
    first, again = [await claims.claim("py", "h", trigger=False, claim_id="c") for _ in range(2)]
    assert first == again == ("a", record())
    assert await claims.claim("py", "h", trigger=False, claim_id="d") == ("b", record())


@pytest.mark.parametrize("first", ["claim", "take_back"])
async def test_a_claim_that_is_taken_back_has_no_pod_in_either_order(claims: Claims, first: str) -> None:
    await claims.register("a", record())
    if first == "claim":
        assert await claims.claim("py", "h", trigger=False, claim_id="c")
    await claims.take_back("c")
    assert await claims.claim("py", "h", trigger=False, claim_id="c") is None
    assert (await claims.states())["a"] == ("spent" if first == "claim" else "ready")


@pytest.mark.parametrize("state", ["ready", "claimed", "spent"])
async def test_no_pod_is_registered_twice_whatever_became_of_it(claims: Claims, state: str) -> None:
    await claims.register("a", record())
    if state != "ready":
        await claims.claim("py", "h", trigger=False)
    if state == "spent":
        await claims.spend("a")
    assert not await claims.register("a", record())


async def test_a_withdrawn_pod_cannot_be_claimed(claims: Claims) -> None:
    await claims.register("a", record())
    assert await claims.withdraw("a", "py", "ready")
    assert await claims.claim("py", "h", trigger=False) is None
    assert not await claims.register("a", record())


async def test_a_claim_comes_before_a_withdrawal_that_was_decided_earlier(claims: Claims) -> None:
    await claims.register("a", record())
    await claims.claim("py", "h", trigger=False)
    assert not await claims.withdraw("a", "py", "ready")
    assert not await claims.withdraw("a", "py", "")


async def test_an_unknown_pod_that_is_withdrawn_never_gets_ready(claims: Claims) -> None:
    assert await claims.withdraw("a", "py", "")
    assert not await claims.register("a", record())


async def test_languages_do_not_mix(claims: Claims) -> None:
    await claims.register("a", record("js"))
    assert await claims.claim("py", "h", trigger=False) is None


async def test_a_forgotten_pod_leaves_nothing(claims: Claims) -> None:
    await claims.register("a", record())
    await claims.forget("a", ["py", "js"])
    assert await claims.states() == {}
    assert await claims.claim("py", "h", trigger=False) is None


async def test_a_claim_wakes_the_pool_and_an_empty_pool_is_wanted(claims: Claims) -> None:
    await claims.claim("py", "h", trigger=True)
    await asyncio.wait_for(claims.wait(30.0), 10.0)
    assert await claims.wanted() == {"py"}


async def test_without_the_trigger_a_claim_wakes_nobody(claims: Claims) -> None:
    await claims.claim("py", "h", trigger=False)
    began = asyncio.get_running_loop().time()
    await claims.wait(0.2)
    assert asyncio.get_running_loop().time() - began > 0.1


async def test_holders_live_while_they_say_so(claims: Claims) -> None:
    await claims.hold("h1")
    assert await claims.living(["h1", "h2"]) == {"h1"}
    await claims.let_go("h1")
    assert await claims.living(["h1"]) == set()


async def test_the_status_is_what_the_pool_said(claims: Claims) -> None:
    assert await claims.status() is None
    status = PoolStatus(
        leader="p", owner=OwnerRecord(name="millrace-pool", uid="u"), levels={"py": Level(size=3, ready=1)}
    )
    await claims.tell(status)
    assert await claims.status() == status


async def test_secrets_can_be_made_again_and_differ_for_each_pod(claims: Claims) -> None:
    root = await claims.secret()
    assert root == await claims.secret()
    assert secret_of("a", root) != secret_of("b", root)


async def test_instances_do_not_see_each_other(claims: Claims, redis_config) -> None:
    from infra.redis import build_redis

    redis = build_redis(redis_config)
    other = Claims(redis, redis_config, "other")
    await claims.register("a", record())
    assert await other.claim("py", "h", trigger=False) is None
    await redis.aclose()
