"""One leads, of any number of processes: whoever holds a Lease object and renews it in time.

Times in the Lease are for people and for others' tools; what counts here is how long *we* have seen it
unchanged, for clocks of machines differ.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from infra.tasks import end_tasks
from sandboxes.kubernetes.api import ApiError, KubernetesApi, Object
from sandboxes.kubernetes.pod_names import Owner

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """How long a silent leader is waited for. A leader gives up before others may think it dead."""

    lasts_s: int = 10
    give_up_s: float = 7.0
    renew_s: float = 2.0


class Lease:
    """A Lease object by name, wanted by `identity`."""

    def __init__(
        self,
        api: KubernetesApi,
        name: str,
        identity: str,
        terms: LeaseTerms | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self.name = name
        self.identity = identity
        self._terms = terms or LeaseTerms()
        self._clock = clock
        self._seen: tuple[str, float] = ("", 0.0)
        """The version last seen, and since when."""
        self._held: Object | None = None
        self.trouble = ""
        """Why the last attempt failed; empty if it did not."""

    @property
    def owner(self) -> Owner:
        """The Lease as the owner of what its leader makes. While it is held only."""
        assert self._held is not None
        uid = str(self._held["metadata"]["uid"])
        return Owner("coordination.k8s.io/v1", "Lease", self.name, uid)

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` while this process leads, again and again, until cancelled."""
        while True:
            if not await self.try_once():
                await asyncio.sleep(self._terms.renew_s)
                continue
            log.info("pool_leads", lease=self.name, identity=self.identity)
            working = asyncio.ensure_future(work())
            try:
                await self._keep(working)
            finally:
                await end_tasks(working)
                log.info("pool_leads_no_more", lease=self.name, identity=self.identity)

    async def _keep(self, working: "asyncio.Future[None]") -> None:
        """Renew until it cannot be renewed in time, or the work fails."""
        renewed_at = self._clock()
        while (left_s := renewed_at + self._terms.give_up_s - self._clock()) > 0:
            await asyncio.wait((working,), timeout=self._terms.renew_s)
            if working.done():
                working.result()
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left_s - self._terms.renew_s)):
                    if await self.try_once():
                        renewed_at = self._clock()
                    elif not self.trouble:
                        return  # another has it

    async def try_once(self) -> bool:
        """Take or renew the lease; False if another holds it or the API does not answer."""
        try:
            held = await self._take()
            self.trouble = ""
        except ApiError as error:
            held = None
            self.trouble = "" if error.status == 409 else error.reason
        if held:
            self._held = held
        return held is not None

    async def give_up(self) -> None:
        """Let another lead at once. Errors do not matter: the lease runs out."""
        if self._held is None:
            return
        with suppress(ApiError):
            lease = await self._api.get("leases", self.name)
            if lease.get("spec", {}).get("holderIdentity") == self.identity:
                lease["spec"]["holderIdentity"] = ""
                await self._api.replace("leases", self.name, lease)

    async def _take(self) -> Object | None:
        try:
            lease = await self._api.get("leases", self.name)
        except ApiError as error:
            if error.status != 404:
                raise
            metadata = {"name": self.name}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
            return await self._api.create("leases", lease | {"spec": self._spec({})})
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") not in (self.identity, "", None) and not self._is_stale(lease):
            return None
        return await self._api.replace("leases", self.name, lease | {"spec": self._spec(spec)})

    def _is_stale(self, lease: Object) -> bool:
        version, now = str(lease["metadata"]["resourceVersion"]), self._clock()
        if version != self._seen[0]:
            self._seen = (version, now)
        lasts_s = (lease.get("spec") or {}).get("leaseDurationSeconds") or self._terms.lasts_s
        return now - self._seen[1] > lasts_s

    def _spec(self, old: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        is_new = old.get("holderIdentity") != self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._terms.lasts_s,
            "acquireTime": now if is_new else old.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if is_new else 0),
        }
