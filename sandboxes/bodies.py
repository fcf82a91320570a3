"""Which body the operator wants, built from the settings: the one place that knows all of them."""

import os
from collections.abc import Mapping
from functools import partial

from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.settings import Settings
from sandboxes.protocol import Sandboxes


def build_sandboxes(settings: Settings) -> Sandboxes:
    """Return the sandboxes that `MILLRACE_SANDBOX` names, not started. Raises `Misconfigured`.

    Bodies are imported only when chosen: each brings libraries that the others do without.
    """
    match settings.millrace_sandbox:
        case "local":
            return _local(settings)
        case "fake":
            from sandboxes.fake import FakeSandboxes  # noqa: PLC0415

            return FakeSandboxes()
        case "kubernetes":
            raise Misconfigured("MILLRACE_SANDBOX=kubernetes: pods are not built yet; use local")


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


def _prestarted(settings: Settings) -> Mapping[str, int]:
    """Return how many runtimes wait for each language that can be started ahead."""
    return {
        "js": settings.pod_pool_js,
        "ts": settings.pod_pool_ts,
        "php": settings.pod_pool_php,
        "r": settings.pod_pool_r,
        "java": settings.pod_pool_java,
    }
