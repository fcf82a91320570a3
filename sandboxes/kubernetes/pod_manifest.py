"""From a language and the settings to the pod that runs it: one pure function, and nothing else decides.

In agent mode the pod passes the Pod Security level `restricted`: an init container copies the agent from
the sidecar's image into a volume, the unmodified language image starts it, and the sidecar beside it is all
that the service talks to. In nsenter mode the sidecar has the privileges to enter the language container,
which still has none.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sandboxes.kubernetes.config import MIB, PodConfig
from sandboxes.kubernetes.quantities import mebibytes, times
from sandboxes.languages import Recipe, recipe_for
from sandboxes.prestart import prestart_of

Manifest = dict[str, Any]

USER_ID = 65_532
"""User and group of every process in the pod."""
SIDECAR_PORT = 8080
DATA_FOLDER, PROGRAM_FOLDER, AGENT_FOLDER = "/mnt/data", "/program", "/millrace"
GUEST_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - the sandbox's own
    "TMPDIR": "/tmp",  # noqa: S108 - likewise
    "USER": "sandbox",
    "LANG": "C.UTF-8",
}
"""Of every command, on top of what the image says."""

INSTANCE_LABEL = "app.kubernetes.io/instance"
LANGUAGE_LABEL = "millrace.dev/language"
USE_LABEL = "millrace.dev/use"
"""`pool`, or `job`."""
TEMPLATE_LABEL = "millrace.dev/template"
HOLDER_LABEL = "millrace.dev/holder"
"""The handler that a Job works for."""
SECRET_VARIABLE, PORT_VARIABLE = "MILLRACE_SECRET_SHA256", "K8S_EXECUTOR_PORT"
NAME_LABELS = {"app.kubernetes.io/name": "millrace-sandbox", "app.kubernetes.io/managed-by": "millrace"}

_SIDECAR_CPU = {"request": "10m", "limit": "500m"}
_SIDECAR_MEMORY_BYTES = 64 * MIB
"""Beside the files that pass through it."""
_LOGS_BYTES = 16 * MIB
"""Disk of a container: writable places are in memory, so only its log is left."""


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


_NOBODY = Identity(name="", secret_sha256="", deadline_s=0)


def pod_manifest(language: str, config: PodConfig, identity: Identity) -> Manifest:
    """Return the pod that runs `language`. Raises `KeyError` for a language that is not in the table."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": identity.name,
            "labels": pod_labels(language, config, "pool"),
            **owner_references(identity.owner),
        },
        "spec": pod_spec(language, config, identity),
    }


def pod_labels(language: str, config: PodConfig, use: str) -> dict[str, str]:
    """Return the labels that pods are found by."""
    return {
        **NAME_LABELS,
        INSTANCE_LABEL: config.instance,
        LANGUAGE_LABEL: language,
        USE_LABEL: use,
        TEMPLATE_LABEL: template_of(language, config),
    }


def selector(config: PodConfig, use: str) -> str:
    """Return the label selector of this Millrace's pods, or Jobs, of one use."""
    labels = {**NAME_LABELS, INSTANCE_LABEL: config.instance, USE_LABEL: use}
    return ",".join(f"{name}={value}" for name, value in labels.items())


def template_of(language: str, config: PodConfig) -> str:
    """Return a short name of all that the settings say about this pod: another one, other settings."""
    text = json.dumps(pod_spec(language, config, _NOBODY), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pod_spec(language: str, config: PodConfig, identity: Identity) -> Manifest:
    """Return the pod's spec, for a bare pod and a Job alike."""
    recipe = recipe_for(language)
    return {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": identity.deadline_s,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostname": "sandbox",
        **_network(config),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_placing(language, config),
        **({"shareProcessNamespace": True} if config.mode == "nsenter" else {}),
        "initContainers": [_agent_copier(config)],
        "containers": [_language(recipe, config), _sidecar(recipe, config, identity)],
        "volumes": [
            _memory("millrace", 32 * MIB),
            *(_memory(name, config.disk_bytes_max) for name in _PLACES),
        ],
    }


_PLACES: Mapping[str, str] = {
    "data": DATA_FOLDER,
    "program": PROGRAM_FOLDER,
    "tmp": "/tmp",  # noqa: S108 - the sandbox's own
    "shm": "/dev/shm",  # noqa: S108 - likewise
}
"""Volumes where programs may write, each with its place."""


def _network(config: PodConfig) -> Manifest:
    """Without network there is nothing to resolve, nor a name server to reach by accident."""
    if config.network:
        return {"dnsPolicy": "Default"}
    return {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"]}}


def _placing(language: str, config: PodConfig) -> Manifest:
    """Say where it may run: spread over nodes, and on those that the operator chose."""
    alike = {INSTANCE_LABEL: config.instance, LANGUAGE_LABEL: language, **NAME_LABELS}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": alike},
    }
    placing: Manifest = {"topologySpreadConstraints": [spread]}
    if config.runtime_class:
        placing["runtimeClassName"] = config.runtime_class
    if config.node_selector:
        placing["nodeSelector"] = dict(config.node_selector)
    if config.tolerations:
        placing["tolerations"] = [dict(toleration) for toleration in config.tolerations]
    if config.pull_secrets:
        placing["imagePullSecrets"] = [{"name": name} for name in config.pull_secrets]
    return placing


def _agent_copier(config: PodConfig) -> Manifest:
    return {
        "name": "agent",
        "image": config.sidecar_image,
        "imagePullPolicy": config.pull_policy,
        "command": ["/sidecar", "install", AGENT_FOLDER],
        "securityContext": _powerless(),
        "resources": _resources(_SIDECAR_CPU, mebibytes(_SIDECAR_MEMORY_BYTES), "16Mi"),
        "volumeMounts": [{"name": "millrace", "mountPath": AGENT_FOLDER}],
    }


def _language(recipe: Recipe, config: PodConfig) -> Manifest:
    """Return the container that has the language: the image as it is, started with the agent."""
    is_agent = config.mode == "agent"
    return {
        "name": "language",
        "image": config.images[recipe.code],
        "imagePullPolicy": config.pull_policy,
        "command": [f"{AGENT_FOLDER}/agent", *([] if is_agent else ["hold"])],
        "workingDir": DATA_FOLDER,
        "env": _environment({PORT_VARIABLE: str(config.executor_port)}),
        "securityContext": _powerless(),
        "resources": _for_code(recipe, config) if is_agent else _for_service(config),
        "volumeMounts": [_millrace(), *(_mount(name) for name in _PLACES)],
    }


def _sidecar(recipe: Recipe, config: PodConfig, identity: Identity) -> Manifest:
    """Return the container that the service talks to. In nsenter mode code runs in its control group."""
    is_agent = config.mode == "agent"
    environment = {
        SECRET_VARIABLE: identity.secret_sha256,
        PORT_VARIABLE: str(config.executor_port),
        "MILLRACE_SIDECAR_PORT": str(SIDECAR_PORT),
        "K8S_EXECUTION_MODE": config.mode,
        **_runtime_ahead(recipe),
    }
    return {
        "name": "sidecar",
        "image": config.sidecar_image,
        "imagePullPolicy": config.pull_policy,
        "command": ["/sidecar"],
        "env": _environment(environment),
        "ports": [{"name": "sidecar", "containerPort": SIDECAR_PORT, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "sidecar"},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        "securityContext": _powerless() if is_agent else _able_to_enter(),
        "resources": _for_service(config) if is_agent else _for_code(recipe, config),
        "volumeMounts": [_millrace(), _mount("data"), _mount("program")],
    }


def _runtime_ahead(recipe: Recipe) -> dict[str, str]:
    """Have the language's runtime started before its program comes, where there is a way to."""
    ahead = prestart_of(recipe)
    if ahead is None:
        return {}
    waiting = replace(recipe, run=ahead.command, env={**recipe.env, **ahead.env}).steps("", PROGRAM_FOLDER)
    start = {
        "argv": list(waiting.run),
        "env": {**GUEST_ENVIRONMENT, **waiting.env},
        "cwd": DATA_FOLDER,
        "script": ahead.script,
        "source": waiting.file_name,
    }
    return {"MILLRACE_PRESTART": json.dumps(start)}


def _environment(values: Mapping[str, str]) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _millrace() -> Manifest:
    return {"name": "millrace", "mountPath": AGENT_FOLDER, "readOnly": True}


def _mount(name: str) -> Manifest:
    return {"name": name, "mountPath": _PLACES[name]}


def _memory(name: str, size: int) -> Manifest:
    """Return a folder in memory: its size holds at once, where one on disk leads to an eviction later."""
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": mebibytes(size)}}


def _for_code(recipe: Recipe, config: PodConfig) -> Manifest:
    """Return the resources of the container whose control group the code is in."""
    cpu = {"request": config.cpu_request, "limit": config.cpu_limit}
    memory = times(config.memory_limit, recipe.memory_factor)
    return _resources(cpu, memory, times(config.memory_request, recipe.memory_factor))


def _for_service(config: PodConfig) -> Manifest:
    """Return the resources of a container of ours; the files that go in count as its memory."""
    return _resources(_SIDECAR_CPU, mebibytes(_SIDECAR_MEMORY_BYTES + config.limits.files_bytes_max), "32Mi")


def _resources(cpu: Mapping[str, str], memory: str, memory_reserved: str) -> Manifest:
    disk = {"ephemeral-storage": mebibytes(_LOGS_BYTES)}
    return {
        "requests": {"cpu": cpu["request"], "memory": memory_reserved, **disk},
        "limits": {"cpu": cpu["limit"], "memory": memory, **disk},
    }


def _powerless() -> Manifest:
    return {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _able_to_enter() -> Manifest:
    """What nsenter(1) takes; the image's file capabilities give it to a process that is not root."""
    return {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": True,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"]},
        "appArmorProfile": {"type": "Unconfined"},
    }


def owner_references(owner: Owner | None) -> Manifest:
    """Return the part of the metadata that names the owner."""
    if owner is None:
        return {}
    reference = {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
    return {"ownerReferences": [reference]}
