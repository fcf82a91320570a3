"""Keeping a lease while its work runs, and stopping the work at once when the lease is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from infra.errors import LeaseLost, Unavailable
from streams.protocol import Consumer, DeliveryPolicy, Lease


@contextlib.asynccontextmanager
async def heartbeat(consumer: Consumer, lease: Lease, policy: DeliveryPolicy) -> AsyncIterator[None]:
    """Renew `lease` every `heartbeat_s` while the block runs.

    When the lease is lost, or nobody could be asked for as long as it lasts, the block is cancelled and
    `LeaseLost` raised in its place. A cancellation from outside stays one.
    """
    body = asyncio.current_task()
    assert body is not None, "a heartbeat needs a task to stop"
    lost = False

    def stop() -> None:
        nonlocal lost
        lost = True
        body.cancel()

    beating: asyncio.Task[None] | None = None

    def begin() -> None:
        nonlocal beating
        beats = _beat(consumer, lease, policy, stop)
        beating = asyncio.create_task(beats, name=f"lease {lease.execution_id}")

    # Most are over before their first beat, and a timer costs less than a task.
    first = asyncio.get_running_loop().call_later(policy.heartbeat_s, begin)
    try:
        yield
    except asyncio.CancelledError:
        if not lost or body.uncancel() > 0:
            raise
        raise LeaseLost(f"the lease on {lease.execution_id} was lost") from None
    finally:
        first.cancel()
        if beating is not None:
            beating.cancel()


async def _beat(consumer: Consumer, lease: Lease, policy: DeliveryPolicy, stop: Callable[[], None]) -> None:
    """Renew again and again, for the first time at once; `stop` when that cannot be."""
    now = asyncio.get_running_loop().time
    held_until = now() + policy.lease_s - policy.heartbeat_s
    while True:
        asked_at = now()
        try:
            await consumer.renew(lease)
            held_until = asked_at + policy.lease_s
        except Unavailable:
            pass
        except LeaseLost:
            break
        if now() >= held_until:
            break
        await asyncio.sleep(policy.heartbeat_s)
    stop()
