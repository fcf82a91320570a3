"""A pod for one execution where none waits: made by a Job, which clears up if its handler does not."""

import asyncio
import secrets
import time
from contextlib import aclosing

from sandboxes.kubernetes.api import ApiError, KubernetesApi
from sandboxes.kubernetes.claims import OwnerRecord, PodRecord, digest_of
from sandboxes.kubernetes.config import KubernetesConfig
from sandboxes.kubernetes.job_manifest import job_manifest
from sandboxes.kubernetes.pod_names import Identity, Owner
from sandboxes.kubernetes.pod_state import PodState, pod_state
from sandboxes.protocol import SandboxUnavailable

_STUCK_S = 4.0
"""An image that cannot be had, or a container that cannot be made, is given so long to mend."""
_NO_POD_S = 15.0
"""The cluster makes the pod of a Job at once, unless something forbids it, which only events tell of."""
_RETRY_S = 5.0


class Jobs:
    """The Jobs of one handler, `holder`."""

    def __init__(self, api: KubernetesApi, config: KubernetesConfig, holder: str) -> None:
        self._api = api
        self._config = config
        self._holder = holder

    def new_name(self, language: str) -> str:
        """Return a name that no Job has, so that it can be deleted whatever becomes of its creation."""
        return f"{self._config.pod.instance}-job-{language}-{secrets.token_hex(5)}"

    async def start(self, name: str, language: str, owner: OwnerRecord | None) -> tuple[str, PodRecord]:
        """Create the Job and wait for its pod; returns the pod. Raises `SandboxUnavailable`."""
        secret = secrets.token_hex(32)
        identity = Identity(
            name=name,
            secret_sha256=digest_of(secret),
            deadline_s=int(self._config.job_start_timeout_s + self._config.pod.longest_run_s(language)),
            waits=False,
            owner=Owner("coordination.k8s.io/v1", "Lease", owner.name, owner.uid) if owner else None,
        )
        manifest = job_manifest(language, self._config.pod, identity, self._holder)
        try:
            await self._api.create("jobs", manifest)
            pod = await self._ready(name)
        except ApiError as error:
            wait_s = max(error.retry_after_s, _RETRY_S)
            raise SandboxUnavailable(
                f"no pod for {language}: {error.reason}", retry_after_s=wait_s
            ) from error
        return pod.name, PodRecord(uid=pod.uid, address=pod.address, language=language, secret=secret)

    async def delete(self, name: str) -> None:
        """Delete a Job with its pod. Raises `ApiError`."""
        await self._api.delete("jobs", name)

    async def _ready(self, name: str) -> PodState:
        """Wait for the pod to be ready; a watch tells, and a look now and then finds what it misses."""
        began = time.monotonic()
        stuck_since = 0.0
        seen = _Seen()
        selector = f"batch.kubernetes.io/job-name={name}"
        while (waited_s := time.monotonic() - began) < self._config.job_start_timeout_s:
            if seen.pod and seen.pod.is_ready and seen.pod.address:
                return seen.pod
            trouble = seen.pod.trouble if seen.pod else ""
            stuck_since = (stuck_since or time.monotonic()) if _is_stuck(trouble) else 0.0
            stuck_s = time.monotonic() - stuck_since if stuck_since else 0.0
            if why := _hopeless(seen.pod, waited_s, stuck_s):
                raise SandboxUnavailable(why, retry_after_s=_RETRY_S)
            await self._look(selector, seen)
        why = seen.pod.trouble if seen.pod and seen.pod.trouble else "its pod did not get ready in time"
        raise SandboxUnavailable(why, retry_after_s=_RETRY_S)

    async def _look(self, selector: str, seen: "_Seen") -> None:
        """Wait for the next change of the pod, at most a second."""
        if not seen.version:
            listed = await self._api.find("pods", selector)
            seen.version = str(listed["metadata"]["resourceVersion"])
            seen.pod = pod_state(listed["items"][0]) if listed["items"] else None
            return
        try:
            async with (
                asyncio.timeout(1.0),
                aclosing(self._api.watch("pods", selector, seen.version)) as events,
            ):
                async for event in events:
                    seen.version = str(event["object"]["metadata"]["resourceVersion"])
                    if event["type"] != "BOOKMARK":
                        seen.pod = pod_state(event["object"])
                        return
        except TimeoutError:
            seen.version = ""
        except ApiError as error:
            if error.status not in (0, 410, 429):
                raise
            seen.version = ""
            await asyncio.sleep(max(0.2, error.retry_after_s))


class _Seen:
    """The pod as last seen, and the version to watch from."""

    pod: PodState | None = None
    version: str = ""


def _hopeless(pod: PodState | None, waited_s: float, stuck_s: float) -> str:
    """Return why it is of no use to wait for this pod any longer; empty if it is of some."""
    if pod is None:
        return "the cluster made no pod for its Job, as for want of quota" if waited_s > _NO_POD_S else ""
    return pod.trouble if pod.trouble and (pod.is_over or stuck_s > _STUCK_S) else ""


def _is_stuck(trouble: str) -> bool:
    """Whether waiting is of little use; a node may still be found, or made, for a pod without one."""
    return bool(trouble) and not trouble.startswith("Unschedulable")
