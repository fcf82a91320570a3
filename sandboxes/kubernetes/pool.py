"""Keeps pods ready for all handlers, and deletes what nobody needs any more.

Any number of these processes run; one leads. It looks at the cluster's pods and at the register of claims,
has `plan.py` decide, and carries that out, again whenever something changed. It keeps nothing in memory
that the next leader would miss.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from infra.errors import Unavailable
from infra.tasks import end_tasks
from sandboxes.backing_off import BackOffs
from sandboxes.kubernetes.api import ApiError, KubernetesApi
from sandboxes.kubernetes.claims import (
    Claims,
    Level,
    OwnerRecord,
    PodRecord,
    PoolStatus,
    digest_of,
    holder_of,
    secret_of,
)
from sandboxes.kubernetes.config import KubernetesConfig
from sandboxes.kubernetes.creations import Creations
from sandboxes.kubernetes.holders import Holders
from sandboxes.kubernetes.job_sweep import JobSweep
from sandboxes.kubernetes.lease import Lease
from sandboxes.kubernetes.plan import Plan, Scene, Verdict, make_plan
from sandboxes.kubernetes.pod_manifest import pod_manifest, template_of
from sandboxes.kubernetes.pod_names import Identity, Manifest, selector
from sandboxes.kubernetes.pod_state import PodState
from sandboxes.kubernetes.pool_notes import notes_of
from sandboxes.kubernetes.trouble_events import TroubleEvents
from sandboxes.kubernetes.watch import PodWatch

log = structlog.get_logger(__name__)

_REDIS_PAUSE_S = 1.0
_GATHER_S = 0.05
"""Between a change and the look at it: nothing to a pod, which takes seconds, but whoever claimed one is past
that before the cluster goes to work on the next, often on the same cores. Changes in a row are one look."""


class PodPool:
    """The pool of one Millrace, as one of its processes sees it."""

    def __init__(
        self,
        config: KubernetesConfig,
        api: KubernetesApi,
        claims: Claims,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._sizes = {language: size for language, size in config.pool.sizes.items() if size > 0}
        self._templates = {language: template_of(language, config.pod) for language in self._sizes}
        self._api = api
        self._claims = claims
        self._lease = Lease(api, f"{config.pod.instance}-pool", identity)
        self._identity = identity
        self._creations = Creations(config.pod.instance)
        self._back_offs = BackOffs(clock)
        self._holders = Holders(claims, clock)
        self._sweep = JobSweep(api, selector(config.pod, "job"), clock)
        self._events = TroubleEvents(api)
        self._look = asyncio.Event()
        self._root = b""
        self._status: PoolStatus | None = None
        """What it said last of the pools it leads; None while another leads."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one at work."""
        return self._status is not None

    def notes(self) -> list[str]:
        """Return what keeps it from its work, in sentences; empty if nothing does."""
        notes = [f"The cluster cannot be asked: {self._lease.trouble}"] if self._lease.trouble else []
        return notes + (notes_of(self._status) if self._status else [])

    async def run(self) -> None:
        """Lead, or wait for the leader's end, until cancelled."""
        try:
            await self._lease.lead(self._work)
        finally:
            await self._lease.give_up()

    async def _work(self) -> None:
        """Keep the pools full while this process leads."""
        watch = PodWatch(self._api, selector(self._config.pod, "pool"), self._look.set)
        helpers = [asyncio.create_task(watch.run()), asyncio.create_task(self._listen())]
        try:
            while True:
                await self._pause()
                if watch.is_synced:
                    await self._look_after(watch)
        finally:
            self._status = None
            await end_tasks(*helpers)

    async def _pause(self) -> None:
        """Wait until something changed, at most as long as the settings say."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.pool.every_s):
                await self._look.wait()
                await asyncio.sleep(_GATHER_S)
        self._look.clear()

    async def _listen(self) -> None:
        """Look at once when a handler took a pod."""
        while True:
            try:
                await self._claims.wait(self._config.pool.every_s)
                self._look.set()
            except Unavailable:
                await asyncio.sleep(_REDIS_PAUSE_S)

    async def _look_after(self, watch: PodWatch) -> None:
        """One look at everything. What fails is tried again at the next one."""
        try:
            self._root = await self._claims.secret()
            states = await self._claims.states()
            await self._sweep.look()
            await self._holders.look({*map(holder_of, states.values()), *self._sweep.holders} - {""})
            plan = make_plan(self._scene(watch, states))
            await self._carry_out(plan, states, watch)
            await self._sweep.delete(self._holders.gone)
            await self._tell(plan, watch.trouble)
        except Unavailable as away:
            log.warning("pool_cannot_look", reason=away.message)
            await asyncio.sleep(_REDIS_PAUSE_S)

    def _scene(self, watch: PodWatch, states: dict[str, str]) -> Scene:
        pods = watch.pods
        self._creations.saw(pods)
        return Scene(
            pods=pods,
            states=states,
            gone=self._holders.gone,
            sizes=self._sizes,
            templates=self._templates,
            digest=lambda name: digest_of(secret_of(name, self._root)),
            now=datetime.now(UTC),
            start_timeout_s=self._config.pool.start_timeout_s,
            idle_s_max=self._config.pool.idle_s_max,
        )

    async def _carry_out(self, plan: Plan, states: dict[str, str], watch: PodWatch) -> None:
        for name in plan.forget:
            await self._claims.forget(name, self._sizes)
        for pod in plan.register:
            await self._register(pod)
        deletions = [self._delete(pod, verdict, states.get(pod.name, "")) for pod, verdict in plan.delete]
        await asyncio.gather(*deletions)
        await asyncio.gather(*[self._create(language, watch) for language in await self._missing(plan)])

    async def _register(self, pod: PodState) -> None:
        secret = secret_of(pod.name, self._root)
        record = PodRecord(uid=pod.uid, address=pod.address, language=pod.language, secret=secret)
        if await self._claims.register(pod.name, record):
            self._back_offs.went_well(pod.language)
            log.info("pod_ready", pod=pod.name, language=pod.language)

    async def _delete(self, pod: PodState, verdict: Verdict, state: str) -> None:
        """Take a pod from everybody, then from the cluster; not if it was claimed since it was looked at."""
        if verdict.is_failure:
            self._back_offs.failed(pod.language, verdict.why)
        if not await self._claims.withdraw(pod.name, pod.language, state):
            return
        log.info("pod_deleted", pod=pod.name, why=verdict.why)
        try:
            await self._api.delete("pods", pod.name, uid=pod.uid)
        except ApiError as error:  # it is spent now: the next look tries again
            log.warning("pod_not_deleted", pod=pod.name, reason=error.reason)

    async def _missing(self, plan: Plan) -> list[str]:
        """Return the languages of the pods to create now, one entry a pod."""
        wanted = self._sizes.keys() if self._config.pool.warm_up else await self._claims.wanted()
        missing: list[str] = []
        for language, size in self._sizes.items():
            if language not in wanted or self._back_offs.is_waiting(language):
                continue
            starting = plan.starting[language]
            count = min(size - plan.ready[language] - starting, self._config.pool.parallel - starting)
            missing += [language] * count
        return missing

    async def _create(self, language: str, watch: PodWatch) -> None:
        name, is_answered = self._creations.begin(language), False
        try:
            watch.note(await self._api.create("pods", self._manifest(name, language)))
            is_answered = True
        except ApiError as error:
            is_answered = not error.is_doubtful and error.status != 409  # it is there: the watch will tell
            if error.status != 409:
                self._back_offs.failed(language, error.reason, error.retry_after_s)
                log.warning("pod_not_created", language=language, reason=error.reason)
        finally:
            self._creations.end(name, is_answered=is_answered)

    def _manifest(self, name: str, language: str) -> Manifest:
        identity = Identity(
            name=name,
            secret_sha256=digest_of(secret_of(name, self._root)),
            deadline_s=int(self._config.pool.idle_s_max + self._config.pod.longest_run_s(language)),
            owner=self._lease.owner,
        )
        return pod_manifest(language, self._config.pod, identity)

    async def _tell(self, plan: Plan, trouble: str) -> None:
        """Say how full the pools are, to the handlers and, if something is wrong, to the cluster."""
        levels = {
            language: Level(
                size=size,
                ready=plan.ready[language],
                starting=plan.starting[language],
                trouble=self._trouble(language, plan),
            )
            for language, size in self._sizes.items()
        }
        owner = self._lease.owner
        self._status = PoolStatus(
            leader=self._identity,
            owner=OwnerRecord(name=owner.name, uid=owner.uid),
            levels=levels,
            trouble=trouble,
        )
        await self._claims.tell(self._status)
        await self._events.tell(owner, {name: level.trouble for name, level in levels.items()})

    def _trouble(self, language: str, plan: Plan) -> str:
        if plan.ready[language] >= self._sizes[language]:
            return ""
        return plan.trouble.get(language, "") or self._back_offs.why(language)
