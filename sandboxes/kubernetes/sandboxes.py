"""Sandboxes from a cluster: a warm pod where one waits, else a Job."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial

import structlog

from infra.errors import Misconfigured, Unavailable
from infra.redis import RedisClient
from infra.tasks import end_tasks
from sandboxes.kubernetes.api import ApiError, KubernetesApi
from sandboxes.kubernetes.claims import HOLD_EVERY_S, Claims, PodRecord, PoolStatus, new_claim_id
from sandboxes.kubernetes.config import KubernetesConfig
from sandboxes.kubernetes.disposal import Disposal
from sandboxes.kubernetes.jobs import Jobs
from sandboxes.kubernetes.pod_names import selector
from sandboxes.kubernetes.pool_notes import notes_of
from sandboxes.kubernetes.sandbox import KubernetesSandbox, Pod
from sandboxes.kubernetes.sidecar import Sidecar, SidecarLost, SidecarRefused
from sandboxes.languages import RECIPES
from sandboxes.protocol import (
    LanguageMissing,
    LanguageStatus,
    SandboxesInfo,
    SandboxSpec,
    SandboxUnavailable,
)

log = structlog.get_logger(__name__)
_UNSEALED = "Code may change the file system of its container (ENABLE_FILESYSTEM_ISOLATION=false)."

_CODES = frozenset(recipe.code for recipe in RECIPES)
Dispose = Callable[[], Coroutine[None, None, None]]

_POOLS = {"bash": "py"}
"""Languages that run in the pods of another, whose image is the same."""


class KubernetesSandboxes:
    """See `sandboxes.protocol.Sandboxes`. Closes `redis` and `api` with itself."""

    def __init__(
        self, config: KubernetesConfig, api: KubernetesApi, redis: RedisClient, claims: Claims, holder: str
    ) -> None:
        self._config = config
        self._api = api
        self._redis = redis
        self._claims = claims
        self._holder = holder
        self._jobs = Jobs(api, config, holder)
        self._disposal = Disposal()
        self._holding: asyncio.Task[None] | None = None
        self._status: PoolStatus | None = None
        self._live: set[KubernetesSandbox] = set()

    async def start(self) -> None:
        """Find the cluster, and say that this handler lives."""
        if self._holding:
            return
        if not self._api.is_open:
            await self._api.open()
        try:
            await self._api.find("pods", selector(self._config.pod, "job"))
        except ApiError as error:
            if error.status in (401, 403, 404):
                raise Misconfigured(f"The Kubernetes API lets us not see our pods: {error.reason}") from error
            log.warning("kubernetes_api_away", reason=error.reason)  # warm pods can be had without it
        await self._hold_once()
        self._holding = asyncio.create_task(self._hold_on())

    async def acquire(self, spec: SandboxSpec) -> KubernetesSandbox:
        """Take a warm pod, or have one made."""
        if spec.language not in _CODES:
            raise LanguageMissing(f"{spec.language} does not run here: it is not in the table of languages.")
        pool = _POOLS.get(spec.language, spec.language)
        if self._config.pool.sizes.get(pool, 0) > 0 and (warm := await self._take_warm(pool, spec)):
            return warm
        return await self._take_job(spec)

    def is_ready(self, spec: SandboxSpec) -> bool:  # noqa: ARG002 - of none
        """Who claims a pod asks others, and may be told that it is gone."""
        return False

    def info(self) -> SandboxesInfo:
        """Every language has an image; what is wrong with a pool is in the notes."""
        levels = self._status.levels if self._status else {}
        languages = [
            LanguageStatus(code, available=True, warm=levels[code].ready if code in levels else 0)
            for code in (recipe.code for recipe in RECIPES)
        ]
        return SandboxesInfo(kind="kubernetes", tier=None, languages=languages, notes=self._notes())

    async def close(self) -> None:
        """Delete every pod that is still claimed, and say that this handler is gone."""
        await asyncio.gather(*(sandbox.close() for sandbox in list(self._live)))
        await self._disposal.aclose()
        if self._holding:
            await end_tasks(self._holding)
            with suppress(Unavailable):
                await self._claims.let_go(self._holder)
        await self._api.aclose()
        await self._redis.aclose()

    async def _take_warm(self, pool: str, spec: SandboxSpec) -> KubernetesSandbox | None:
        """Claim pods until one answers; None when none is ready. Raises `SandboxUnavailable`."""
        while True:
            taken = await self._claim(pool)
            if taken is None:
                return None
            name, record = taken
            dispose: Dispose = partial(self._dispose_of_pod, name, record.uid)
            try:
                return await self._enter(name, record, spec, dispose)
            except SidecarRefused as refused:
                log.warning("pod_refused", pod=name, code=refused.code)
                if refused.code != "claimed":  # else its first holder is at work in it, and will delete it
                    await dispose()
            except SidecarLost as lost:
                log.warning("pod_lost", pod=name, reason=str(lost))
                await dispose()
            except BaseException:  # who asked is gone
                await asyncio.shield(dispose())
                raise

    async def _claim(self, pool: str) -> tuple[str, PodRecord] | None:
        """Claim a pod. Where the answer is not had, none is left claimed. Raises `SandboxUnavailable`."""
        claim_id, trigger = new_claim_id(), self._config.pool.trigger
        try:
            return await self._claims.claim(pool, self._holder, trigger=trigger, claim_id=claim_id)
        except BaseException as failure:
            undo = partial(self._claims.take_back, claim_id)
            await self._disposal.dispose(f"claim {claim_id}", undo, wait_s=0.0)
            if isinstance(failure, Unavailable):
                raise SandboxUnavailable(failure.message, retry_after_s=failure.retry_after_s) from failure
            raise

    async def _take_job(self, spec: SandboxSpec) -> KubernetesSandbox:
        name = self._jobs.new_name(spec.language)
        dispose: Dispose = partial(self._disposal.dispose, name, partial(self._jobs.delete, name))
        try:
            pod, record = await self._jobs.start(
                name, spec.language, self._status.owner if self._status else None
            )
            return await self._enter(pod, record, spec, dispose)
        except (SidecarRefused, SidecarLost) as error:
            await dispose()
            raise SandboxUnavailable(f"The pod {name} got ready and is lost: {error}") from error
        except SandboxUnavailable as away:
            await asyncio.shield(dispose())
            raise SandboxUnavailable(self._why(away, spec), retry_after_s=away.retry_after_s) from away
        except BaseException:
            await asyncio.shield(dispose())
            raise

    def _why(self, away: SandboxUnavailable, spec: SandboxSpec) -> str:
        """Return why no pod could be had, and what the pool says of its own attempts, which is told more."""
        levels = self._status.levels if self._status else {}
        level = levels.get(_POOLS.get(spec.language, spec.language))
        if level is None or not level.trouble or level.trouble in away.message:
            return away.message
        return f"{away.message}; the pool has none either: {level.trouble}"

    async def _enter(
        self, name: str, record: PodRecord, spec: SandboxSpec, dispose: Dispose
    ) -> KubernetesSandbox:
        """Make sure that the pod lives and is ours alone. Raises `SidecarLost` and `SidecarRefused`."""
        sidecar = Sidecar(record.address, record.secret)
        try:
            # a word of its own for each claim: also this handler must not enter the same pod twice
            claimed = await sidecar.claim(f"{self._holder}:{secrets.token_hex(4)}")
        except BaseException:
            await sidecar.aclose()
            raise

        async def close(sandbox: KubernetesSandbox) -> None:
            self._live.discard(sandbox)
            await sidecar.aclose()
            await dispose()

        sandbox = KubernetesSandbox(Pod(name, sidecar, claimed), spec, self._config, self._api, close)
        self._live.add(sandbox)
        return sandbox

    async def _dispose_of_pod(self, name: str, uid: str) -> None:
        """Delete a pod of the pool. Should the API be away, the pool knows by the register what to delete."""
        await self._disposal.dispose(
            name, partial(self._claims.spend, name), partial(self._api.delete, "pods", name, uid=uid)
        )

    async def _hold_on(self) -> None:
        while True:
            await asyncio.sleep(HOLD_EVERY_S)
            await self._hold_once()

    async def _hold_once(self) -> None:
        """Say that this handler lives, and hear how the pool is doing."""
        try:
            await self._claims.hold(self._holder)
            self._status = await self._claims.status()
        except Unavailable as away:
            log.warning("pods_not_held", reason=away.message)

    def _notes(self) -> list[str]:
        unsealed = [] if self._config.pod.own_filesystem else [_UNSEALED]
        return [*unsealed, *self._pool_notes()]

    def _pool_notes(self) -> list[str]:
        if not any(self._config.pool.sizes.values()):
            return []
        if self._status is None:
            return ["No pool is at work, so every execution waits for a pod of its own: run `millrace pool`."]
        return notes_of(self._status)
