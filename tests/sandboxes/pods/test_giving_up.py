"""Whoever stops waiting for a sandbox leaves no pod claimed for nobody."""

import asyncio
from typing import Any

import pytest

from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.sidecar import Sidecar
from tests.sandboxes.pods.conftest import eventually
from tests.sandboxes.pods.pairs import Bench
from tests.sandboxes.pods.test_pod_faults import SPEC, ready_pods
from tests.sandboxes.pods.test_pod_faults import bench as bench  # noqa: PLC0414 - a fixture


@pytest.mark.parametrize("where", ["at the register", "at the pod"])
async def test_who_gives_up_while_claiming_leaves_no_pod_claimed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Cancelled when Redis has given the pod away, or while its sidecar is asked."""
    reached = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    if where == "at the pod":
        monkeypatch.setattr(Sidecar, "claim", never)
    else:
        claim = Claims.claim

        async def claim_then_never(*words: Any, **named: Any) -> None:
            await claim(*words, **named)
            await never()

        monkeypatch.setattr(Claims, "claim", claim_then_never)
    (name,) = [name for name, state in (await bench.claims.states()).items() if state == "ready"]
    acquiring = asyncio.create_task(bench.sandboxes.acquire(SPEC))
    await reached.wait()
    acquiring.cancel()
    await asyncio.wait({acquiring})
    assert acquiring.cancelled()
    await eventually(lambda: name in bench.cluster.deleted, "its pod to go")
    await eventually(lambda: ready_pods(bench), "another to be ready")
