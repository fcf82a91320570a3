"""Deletes Jobs whose handler died; their own deadline would do so too, only later."""

from collections.abc import Callable

import structlog

from sandboxes.kubernetes.api import ApiError, KubernetesApi
from sandboxes.kubernetes.pod_names import HOLDER_LABEL

log = structlog.get_logger(__name__)

_EVERY_S = 5.0


class JobSweep:
    """The Jobs that match a selector, looked at now and then."""

    def __init__(self, api: KubernetesApi, selector: str, clock: Callable[[], float]) -> None:
        self._api = api
        self._selector = selector
        self._clock = clock
        self._next = 0.0
        self._jobs: dict[str, tuple[str, str]] = {}
        """Name to uid and holder."""

    @property
    def holders(self) -> set[str]:
        """The handlers that the Jobs work for."""
        return {holder for _, holder in self._jobs.values()}

    async def look(self) -> None:
        """List the Jobs, if the last list is old. What the API refuses is tried again later."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + _EVERY_S
        try:
            listed = await self._api.find("jobs", self._selector)
        except ApiError as error:
            log.warning("jobs_not_listed", reason=error.reason)
            return
        found = [job["metadata"] for job in listed["items"]]
        self._jobs = {
            meta["name"]: (meta["uid"], meta.get("labels", {}).get(HOLDER_LABEL, "")) for meta in found
        }

    async def delete(self, gone: Callable[[str], bool]) -> None:
        """Delete the Jobs of handlers that are `gone`."""
        for name, (uid, holder) in list(self._jobs.items()):
            if not gone(holder):
                continue
            try:
                await self._api.delete("jobs", name, uid=uid)
            except ApiError as error:
                log.warning("job_not_deleted", job=name, reason=error.reason)
                continue
            log.info("job_deleted", job=name, why="its handler died")
            del self._jobs[name]
