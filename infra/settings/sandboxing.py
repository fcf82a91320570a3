"""Settings of the sandboxes: limits, Kubernetes, gVisor, warm pools, images."""

from typing import Any, Literal

from infra.settings.declare import group, setting

_CPU = (r"([1-9][0-9]*m|[0-9]*[1-9][0-9]*|[0-9]+\.[0-9]+)", "a Kubernetes CPU quantity such as 500m or 1.5")
_MEMORY = (
    r"[1-9][0-9]*(\.[0-9]+)?([KMGTPE]i|[kMGTPE])?",
    "a Kubernetes memory quantity such as 512Mi or 2Gi",
)
_DNS_LABEL = (r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?", "a Kubernetes name: lower-case letters, digits and -")
_DNS_NAME = (
    r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?",
    "a Kubernetes name: lower-case letters, digits, - and .",
)
_IMAGE = (r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", "an image reference such as registry/name:tag")
_TAG = (r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", "an image tag")


@group
class Limits:
    """What one execution may use.

    Requests may ask for less, never for more.
    """

    max_execution_time: int = setting(
        30, "Seconds of wall time, for the build and the run each.", at_least=1, at_most=86_400
    )
    max_memory_mb: int = setting(
        512,
        "MiB of memory of all its processes together, their temporary files included.",
        at_least=16,
        at_most=1 << 22,
    )
    max_cpu_quota: int = setting(
        50_000,
        "CPU time in microseconds per 100 milliseconds: 100000 is one core.",
        at_least=1000,
        at_most=102_400_000,
    )
    max_pids: int = setting(512, "Processes and threads.", at_least=1, at_most=1 << 22)
    max_open_files: int = setting(1024, "Open files of each process.", at_least=16, at_most=1 << 20)
    max_concurrent_executions: int = setting(
        10, "Executions that one handler process runs at a time.", at_least=1, at_most=10_000
    )


@group
class Security:
    """Walls that can be taken down."""

    enable_network_isolation: bool = setting(
        True, "Sandboxes have no network. Off: code reaches whatever this machine reaches."
    )
    enable_filesystem_isolation: bool = setting(
        True,
        "Sandboxes write to folders of their own only, all else is read-only. Off: code in a pod may change "
        "what its image lets an ordinary user change, until the pod ends with the execution. The local "
        "sandbox cannot do without it.",
    )


@group
class Kubernetes:
    """Sandboxes as pods (MILLRACE_SANDBOX=kubernetes)."""

    k8s_namespace: str = setting("", "Namespace of the pods. Empty: Millrace's own.", pattern=_DNS_LABEL)
    k8s_sidecar_image: str = setting(
        "millrace-sidecar-agent:latest",
        "Image of the sidecar, which brings the agent. Left out, it is the one built for K8S_EXECUTION_MODE, "
        "from K8S_IMAGE_REGISTRY if that is set.",
        pattern=_IMAGE,
    )
    k8s_image_registry: str = setting(
        "millrace",
        "Registry and folder of Millrace's own images. If this or K8S_IMAGE_TAG is set, they are used for "
        "the sidecar and for every language whose LANG_IMAGE_* is not set: <registry>/millrace-py:<tag>.",
        pattern=_IMAGE,
    )
    k8s_image_tag: str = setting("latest", "Tag of Millrace's own images.", pattern=_TAG)
    k8s_cpu_limit: str = setting("1", "CPU limit of a language container.", pattern=_CPU)
    k8s_memory_limit: str = setting("512Mi", "Memory limit of a language container.", pattern=_MEMORY)
    k8s_cpu_request: str = setting(
        "100m", "CPU reserved for a language container; not above K8S_CPU_LIMIT.", pattern=_CPU
    )
    k8s_memory_request: str = setting(
        "128Mi", "Memory reserved for a language container; not above K8S_MEMORY_LIMIT.", pattern=_MEMORY
    )
    k8s_execution_mode: Literal["agent", "nsenter"] = setting(
        "agent",
        "agent: a small program beside the code runs it, without any privilege. nsenter: the sidecar enters "
        "the language container, which needs privileges and excludes gVisor.",
    )
    k8s_executor_port: int = setting(
        9090, "TCP port of the agent, on the loopback of the pod.", at_least=1024, at_most=65_535
    )
    k8s_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = setting(
        "Always", "When nodes pull images."
    )
    k8s_image_pull_secrets: tuple[str, ...] = setting(
        (), "Names of the secrets for private registries, comma separated."
    )


@group
class Gvisor:
    """gVisor, as on GKE Sandbox."""

    gke_sandbox_enabled: bool = setting(False, "Run the pods under gVisor.")
    gke_sandbox_runtime_class: str = setting(
        "gvisor", "RuntimeClass that stands for gVisor.", pattern=_DNS_NAME
    )
    gke_sandbox_node_selector: dict[str, Any] = setting(
        {}, "Labels of the nodes for the pods: a JSON object of texts."
    )
    gke_sandbox_custom_tolerations: list[Any] = setting(
        [], "Tolerations of the pods: a JSON array of objects."
    )


def _pool(default: int, language: str, local: str = "") -> int:
    return setting(
        default,
        f"Pods kept ready for {language}. 0: each execution gets a Job of its own.{local}",
        at_least=0,
        at_most=1000,
    )


def _runtime(default: int, language: str, mb: int) -> int:
    local = (
        " In local sandboxes: runtimes started ahead once the language has been used,"
        f" about {mb} MB of memory each; 0 starts each cold."
    )
    return _pool(default, language, local)


@group
class Pool:
    """Pods, or runtimes in local sandboxes, that wait ready."""

    pod_pool_enabled: bool = setting(
        True, "Keep pods ready. Off: every execution gets a Job; local runtimes start cold, but for Python."
    )
    pod_pool_warmup_on_startup: bool = setting(True, "Fill the pools at start-up, not at the first request.")
    pod_pool_py: int = _pool(5, "Python")
    pod_pool_js: int = _runtime(2, "JavaScript", 28)
    pod_pool_ts: int = _runtime(0, "TypeScript", 28)
    pod_pool_go: int = _pool(0, "Go")
    pod_pool_java: int = _runtime(0, "Java", 80)
    pod_pool_rs: int = _pool(0, "Rust")
    pod_pool_c: int = _pool(0, "C")
    pod_pool_cpp: int = _pool(0, "C++")
    pod_pool_php: int = _runtime(0, "PHP", 15)
    pod_pool_r: int = _runtime(0, "R", 50)
    pod_pool_f90: int = _pool(0, "Fortran")
    pod_pool_d: int = _pool(0, "D")
    pod_pool_parallel_batch: int = setting(
        5, "Pods that are started at the same time while a pool fills.", at_least=1, at_most=100
    )
    pod_pool_replenish_interval: int = setting(
        2, "Seconds between two looks at the pools' levels.", at_least=1, at_most=3600
    )
    pod_pool_exhaustion_trigger: bool = setting(
        True, "Refill as soon as a pod is taken or a pool runs empty, without waiting for the next look."
    )


def _image(default: str, language: str) -> str:
    return setting(default, f"Image in which {language} runs; unmodified images work.", pattern=_IMAGE)


@group
class Languages:
    """Images of the languages, for pods."""

    lang_image_py: str = _image("python:3.11-slim", "Python")
    lang_image_js: str = _image("node:18-alpine", "JavaScript")
    lang_image_ts: str = _image("node:18-alpine", "TypeScript")
    lang_image_go: str = _image("golang:1.21-alpine", "Go")
    lang_image_java: str = _image("openjdk:11-jre-slim", "Java")
    lang_image_c: str = _image("gcc:latest", "C")
    lang_image_cpp: str = _image("gcc:latest", "C++")
    lang_image_php: str = _image("php:8.2-cli-alpine", "PHP")
    lang_image_rs: str = _image("rust:1.70-slim", "Rust")
    lang_image_r: str = _image("r-base:latest", "R")
    lang_image_f90: str = _image("gcc:latest", "Fortran")
    lang_image_d: str = _image("dlang2/dmd-ubuntu:latest", "D")
