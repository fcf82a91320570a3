"""What pods there are, kept up to date by a watch, through every way in which a watch can fail."""

import asyncio
from collections.abc import Callable

import structlog

from sandboxes.kubernetes.api import ApiError, KubernetesApi, Object
from sandboxes.kubernetes.pod_state import PodState, pod_state

log = structlog.get_logger(__name__)

_PAUSE_S = 0.2
"""Between two watches: a server that ends each at once shall not keep us busy."""
_PAUSE_S_MAX = 15.0


class PodWatch:
    """The pods that match a selector. `on_change` is called after every change."""

    def __init__(self, api: KubernetesApi, selector: str, on_change: Callable[[], None]) -> None:
        self._api = api
        self._selector = selector
        self._on_change = on_change
        self._told: dict[str, PodState] = {}
        self._noted: dict[str, tuple[int, PodState]] = {}
        """Pods by our own doing, each with its version, which lists and watches have not come to yet."""
        self._version = 0
        """Up to where they have come: versions of one collection only grow."""
        self.is_synced = False
        """Whether `pods` was complete at some time."""
        self.trouble = ""
        """Why it cannot be kept up to date at the moment; empty if it can."""

    @property
    def pods(self) -> dict[str, PodState]:
        """Every pod that is known to be there, by name."""
        return {name: state for name, (_, state) in self._noted.items()} | self._told

    async def run(self) -> None:
        """Keep watching until cancelled. What is known stays known while the API is away."""
        failures = 0
        while True:
            try:
                version = await self._list()
                failures = 0
                while True:
                    version = await self._follow(version)
                    await asyncio.sleep(_PAUSE_S)
            except ApiError as error:
                if error.status == 410:  # the version is too old to go on from: list again
                    await asyncio.sleep(_PAUSE_S)
                    continue
                failures += 1
                self._say(error.reason)
                await asyncio.sleep(max(error.retry_after_s, min(_PAUSE_S_MAX, 0.25 * 2**failures)))

    def note(self, pod: Object) -> None:
        """Take note of a pod that was just created, unless its story was told before its answer came."""
        if (version := int(pod["metadata"]["resourceVersion"])) > self._version:
            self._noted[pod["metadata"]["name"]] = (version, pod_state(pod))

    async def _list(self) -> str:
        listed = await self._api.find("pods", self._selector)
        version = str(listed["metadata"]["resourceVersion"])
        self._told = {state.name: state for state in map(pod_state, listed["items"])}
        self._come_to(version)
        self.is_synced = True
        self._say("")
        self._on_change()
        return version

    async def _follow(self, version: str) -> str:
        """Apply events until the server ends the watch; returns the version to go on from."""
        async for event in self._api.watch("pods", self._selector, version):
            changed = event["object"]
            version = str(changed["metadata"]["resourceVersion"])
            if event["type"] != "BOOKMARK":
                self._apply(event["type"], changed)
            self._come_to(version)
        return version

    def _apply(self, kind: str, pod: Object) -> None:
        state = pod_state(pod)
        if kind == "DELETED":
            self._told.pop(state.name, None)
        else:
            self._told[state.name] = state
        self._on_change()

    def _come_to(self, version: str) -> None:
        """Forget what was noted up to a version: by now it was told of, be it as deleted."""
        self._version = int(version)
        self._noted = {name: noted for name, noted in self._noted.items() if noted[0] > self._version}

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            log.warning("pods_not_watched", reason=trouble) if trouble else log.info("pods_watched")
