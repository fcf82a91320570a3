"""What pods and Jobs of ours are called and found by, and what tells one from another."""

from dataclasses import dataclass
from typing import Any

from sandboxes.kubernetes.config import PodConfig

Manifest = dict[str, Any]

USER_ID = 65_532
"""User and group of every process in the pod."""
DATA_FOLDER, PROGRAM_FOLDER, AGENT_FOLDER = "/mnt/data", "/program", "/millrace"

INSTANCE_LABEL = "app.kubernetes.io/instance"
LANGUAGE_LABEL = "millrace.dev/language"
USE_LABEL = "millrace.dev/use"
"""`pool`, or `job`."""
TEMPLATE_LABEL = "millrace.dev/template"
HOLDER_LABEL = "millrace.dev/holder"
"""The handler that a Job works for."""
SECRET_VARIABLE, PORT_VARIABLE = "MILLRACE_SECRET_SHA256", "K8S_EXECUTOR_PORT"
NAME_LABELS = {"app.kubernetes.io/name": "millrace-sandbox", "app.kubernetes.io/managed-by": "millrace"}


@dataclass(frozen=True, slots=True)
class Owner:
    """The object that takes the pod with it when it is deleted."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What tells one pod from others of the same language and settings."""

    name: str
    secret_sha256: str
    """Of the secret that the sidecar asks for. The secret itself is in no object of the cluster."""
    deadline_s: int
    """Kubernetes ends the pod so long after its start, whatever else happens."""
    owner: Owner | None = None
    waits: bool = True
    """Whether it waits for its execution; a runtime is started ahead only then."""


def selector(config: PodConfig, use: str) -> str:
    """Return the label selector of this Millrace's pods, or Jobs, of one use."""
    labels = {**NAME_LABELS, INSTANCE_LABEL: config.instance, USE_LABEL: use}
    return ",".join(f"{name}={value}" for name, value in labels.items())


def owner_references(owner: Owner | None) -> Manifest:
    """Return the part of the metadata that names the owner."""
    if owner is None:
        return {}
    reference = {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
    return {"ownerReferences": [reference]}
