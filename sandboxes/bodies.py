"""Which body the operator wants, built from the settings: the one place that knows all of them."""

import os
import secrets
import socket
from collections.abc import Mapping
from functools import partial

from infra.cache_folder import cache_folder
from infra.connect import redis_config
from infra.redis import build_redis
from infra.settings import Settings
from sandboxes.protocol import Sandboxes


def build_sandboxes(settings: Settings) -> Sandboxes:
    """Return the sandboxes that `MILLRACE_SANDBOX` names, not started.

    Bodies are imported only when chosen: each brings libraries that the others do without.
    """
    match settings.millrace_sandbox:
        case "local":
            return _local(settings)
        case "fake":
            from sandboxes.fake import FakeSandboxes  # noqa: PLC0415

            return FakeSandboxes()
        case "kubernetes":
            return _kubernetes(settings)


def _local(settings: Settings) -> Sandboxes:
    from sandboxes.local import LocalConfig, LocalSandboxes  # noqa: PLC0415
    from sandboxes.toolchains import find_toolchains  # noqa: PLC0415

    config = LocalConfig(
        allow_weak=settings.millrace_allow_weak_sandbox,
        uid_first=settings.millrace_local_uid,
        prestarted=_prestarted(settings) if settings.pod_pool_enabled else {},
        prestart_at_once=False,
    )
    return LocalSandboxes(config, partial(find_toolchains, caches=cache_folder(os.environ)))


def _kubernetes(settings: Settings) -> Sandboxes:
    from sandboxes.kubernetes.api import KubernetesApi  # noqa: PLC0415
    from sandboxes.kubernetes.claims import Claims  # noqa: PLC0415
    from sandboxes.kubernetes.sandboxes import KubernetesSandboxes  # noqa: PLC0415
    from sandboxes.pod_settings import kubernetes_config  # noqa: PLC0415

    config, where = kubernetes_config(settings), redis_config(settings)
    redis = build_redis(where)
    claims = Claims(redis, where, settings.millrace_instance)
    holder = f"{socket.gethostname()[:40]}-{secrets.token_hex(4)}".lower()
    return KubernetesSandboxes(config, KubernetesApi(config.namespace), redis, claims, holder)


def _prestarted(settings: Settings) -> Mapping[str, int]:
    """Return how many runtimes wait for each language that can be started ahead."""
    return {
        "js": settings.pod_pool_js,
        "ts": settings.pod_pool_ts,
        "php": settings.pod_pool_php,
        "r": settings.pod_pool_r,
        "java": settings.pod_pool_java,
    }
