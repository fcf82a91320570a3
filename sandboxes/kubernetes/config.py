"""What an operator may say about pods as sandboxes, as the values that the code works with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sandboxes.languages import recipe_for
from schemas.limits import SandboxLimits

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PodConfig:
    """How a pod looks: all that `pod_manifest` reads beside the language."""

    instance: str = "millrace"
    """Which Millrace the pods belong to: several may share a namespace."""
    mode: Literal["agent", "nsenter"] = "agent"
    sidecar_image: str
    images: Mapping[str, str]
    """For each language code."""
    executor_port: int = 9090
    """Of the agent, on the pod's loopback."""
    sidecar_port: int = 8080
    """Of the sidecar, on the pod's address."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "Always"
    pull_secrets: Sequence[str] = ()
    cpu_limit: str = "1"
    cpu_request: str = "100m"
    memory_limit: str = "512Mi"
    """Times the language's factor, as the request."""
    memory_request: str = "128Mi"
    disk_bytes_max: int = 256 * MIB
    """Size of each writable place, and of the largest file. Held in memory and counted as such."""
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    network: bool = False
    """Whether the code may reach the network; off, the pods cannot resolve names either."""
    own_filesystem: bool = True
    """Off, code may change what its image lets an ordinary user change, for as long as its pod lives."""
    runtime_class: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()

    def longest_run_s(self, language: str) -> float:
        """Return how long one execution may hold a pod: files in, build, run, files out."""
        return 120.0 + self.limits.timeout_s * (1.0 + recipe_for(language).time_factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How many pods wait ready, and how they are kept."""

    sizes: Mapping[str, int]
    """For each language code; a language that is missing or 0 gets Jobs."""
    warm_up: bool = True
    """Fill at start; off: from the first request of each language on."""
    parallel: int = 5
    """Pods of one language that may be starting at a time."""
    every_s: float = 2.0
    """Between two looks at the levels."""
    trigger: bool = True
    """Look at once when a pod was taken."""
    start_timeout_s: float = 120.0
    """A pod that is not ready after so long is given up."""
    idle_s_max: float = 3600.0
    """A pod that waited for so long is replaced by a fresh one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesConfig:
    """Pods as sandboxes, for one handler process or pool."""

    pod: PodConfig
    pool: PoolConfig
    namespace: str | None = None
    """None: the one this process itself runs in, or the kubeconfig's."""
    job_start_timeout_s: float = 60.0
    """How long the pod of a Job may take to be ready."""
    silence_s_max: float = 10.0
    """A running pod that says nothing for so long, not even that it lives, is lost."""
