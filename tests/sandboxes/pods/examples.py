"""Pods of every kind that settings can ask for, as the golden files and the API server's schema hold them.

`python -m tests.sandboxes.pods.examples` writes the golden files again.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.settings import Settings
from infra.settings.load import load_settings
from sandboxes.kubernetes.job_manifest import job_manifest
from sandboxes.kubernetes.pod_manifest import pod_manifest
from sandboxes.kubernetes.pod_names import Identity, Owner
from sandboxes.pod_settings import kubernetes_config

GOLDEN = Path(__file__).with_name("golden")
IDENTITY = Identity(
    name="millrace-py-0123456789",
    secret_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    deadline_s=3780,
    owner=Owner("coordination.k8s.io/v1", "Lease", "millrace-pool", "00000000-0000-4000-8000-000000000001"),
)
GVISOR = {
    "GKE_SANDBOX_ENABLED": "true",
    "GKE_SANDBOX_NODE_SELECTOR": '{"sandbox.gke.io/runtime": "gvisor"}',
    "GKE_SANDBOX_CUSTOM_TOLERATIONS": '[{"key": "sandbox", "operator": "Exists", "effect": "NoSchedule"}]',
}
PRIVATE = {
    "K8S_IMAGE_REGISTRY": "registry.example/team/millrace",
    "K8S_IMAGE_TAG": "1.2.3",
    "LANG_IMAGE_GO": "registry.example/go:1.26",
    "K8S_IMAGE_PULL_SECRETS": "one,two",
    "K8S_IMAGE_PULL_POLICY": "IfNotPresent",
}
BIG = {
    "K8S_CPU_LIMIT": "2",
    "K8S_CPU_REQUEST": "500m",
    "K8S_MEMORY_LIMIT": "1Gi",
    "K8S_MEMORY_REQUEST": "200M",
    "K8S_EXECUTOR_PORT": "9191",
    "MAX_TOTAL_FILE_SIZE_MB": "200",
    "MILLRACE_INSTANCE": "team-a",
}

Example = tuple[str, Mapping[str, str]]
PODS: dict[str, Example] = {
    "py": ("py", {}),
    "py-gvisor": ("py", GVISOR),
    "py-nsenter": ("py", {"K8S_EXECUTION_MODE": "nsenter"}),
    "py-network": ("py", {"ENABLE_NETWORK_ISOLATION": "false"}),
    "py-unsealed": ("py", {"MILLRACE_SANDBOX": "kubernetes", "ENABLE_FILESYSTEM_ISOLATION": "false"}),
    "js-private-images": ("js", PRIVATE),
    "go-private-images": ("go", PRIVATE),
    "cpp-big": ("cpp", BIG),
    "bash": ("bash", {}),
}
JOBS: dict[str, Example] = {"rs-job": ("rs", {}), "py-job": ("py", {})}


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings that these variables make, and nothing else."""
    return load_settings({"MILLRACE_ENV_FILE": os.devnull, **environment})


def example(name: str) -> dict[str, Any]:
    """Return the manifest of an example."""
    language, environment = (PODS | JOBS)[name]
    pod = kubernetes_config(settings_of(environment)).pod
    if name in JOBS:
        return job_manifest(language, pod, replace(IDENTITY, waits=False), "handler-1")
    return pod_manifest(language, pod, IDENTITY)


def text(manifest: Mapping[str, Any]) -> str:
    """Return a manifest as golden files have it."""
    return json.dumps(manifest, indent=2) + "\n"


if __name__ == "__main__":
    for each in PODS | JOBS:
        (GOLDEN / f"{each}.json").write_text(text(example(each)))
