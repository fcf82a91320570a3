"""Which body the operator wants, built from the settings: the one place that knows all of them."""

import os
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
        allow_weak=settings.millrace_allow_weak_sandbox, uid_first=settings.millrace_local_uid
    )
    return LocalSandboxes(config, partial(find_toolchains, caches=cache_folder(os.environ)))
