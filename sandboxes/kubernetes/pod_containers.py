"""The three containers of a pod: what copies the agent, what runs the code, what the service talks to."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace

from sandboxes.kubernetes.config import MIB, PodConfig
from sandboxes.kubernetes.pod_names import (
    AGENT_FOLDER,
    DATA_FOLDER,
    PORT_VARIABLE,
    PROGRAM_FOLDER,
    SECRET_VARIABLE,
    Identity,
    Manifest,
)
from sandboxes.kubernetes.quantities import mebibytes, times
from sandboxes.languages import Recipe
from sandboxes.prestart import prestart_of
from sandboxes.seccomp import MACHINES, filter_bytes
from sandboxes.waiting_python import waiting_python

GUEST_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - the sandbox's own
    "TMPDIR": "/tmp",  # noqa: S108 - likewise
    "USER": "sandbox",
    "LANG": "C.UTF-8",
}
"""Of every command, on top of what the image says."""
_SIDECAR_CPU = {"request": "10m", "limit": "500m"}
_SIDECAR_MEMORY_BYTES = 64 * MIB
"""Beside the files that pass through it."""
_LOGS_BYTES = 16 * MIB
"""Disk of a container: writable places are in memory, so only its log is left."""


PLACES: Mapping[str, str] = {
    "data": DATA_FOLDER,
    "program": PROGRAM_FOLDER,
    "tmp": "/tmp",  # noqa: S108 - the sandbox's own
    "shm": "/dev/shm",  # noqa: S108 - likewise
}
"""Volumes where programs may write, each with its place."""


def agent_copier(config: PodConfig) -> Manifest:
    """Return the container that puts the agent where the language container finds it."""
    return {
        "name": "agent",
        "image": config.sidecar_image,
        "imagePullPolicy": config.pull_policy,
        "command": ["/sidecar", "install", AGENT_FOLDER],
        # in nsenter mode the program has file capabilities, and does not start where they are withheld
        "securityContext": _powerless() if config.mode == "agent" else _able_to_enter(),
        "resources": _resources(_SIDECAR_CPU, mebibytes(_SIDECAR_MEMORY_BYTES), "16Mi"),
        "volumeMounts": [{"name": "millrace", "mountPath": AGENT_FOLDER}],
    }


def language_container(recipe: Recipe, config: PodConfig) -> Manifest:
    """Return the container that has the language: the image as it is, started with the agent."""
    is_agent = config.mode == "agent"
    return {
        "name": "language",
        "image": config.images[recipe.code],
        "imagePullPolicy": config.pull_policy,
        "command": [f"{AGENT_FOLDER}/agent", *([] if is_agent else ["hold"])],
        "workingDir": DATA_FOLDER,
        "env": _environment({PORT_VARIABLE: str(config.executor_port)}),
        "securityContext": _powerless() | {"readOnlyRootFilesystem": config.own_filesystem},
        "resources": _with_disk(_for_code(recipe, config) if is_agent else _for_service(config), config),
        "volumeMounts": [_millrace(), *(_mount(name) for name in PLACES)],
    }


def sidecar_container(recipe: Recipe, config: PodConfig, identity: Identity) -> Manifest:
    """Return the container that the service talks to. In nsenter mode code runs in its control group."""
    is_agent = config.mode == "agent"
    environment = {
        SECRET_VARIABLE: identity.secret_sha256,
        PORT_VARIABLE: str(config.executor_port),
        "MILLRACE_SIDECAR_PORT": str(config.sidecar_port),
        "K8S_EXECUTION_MODE": config.mode,
        **(_runtime_ahead(recipe, config.network) if identity.waits else {}),
    }
    return {
        "name": "sidecar",
        "image": config.sidecar_image,
        "imagePullPolicy": config.pull_policy,
        "command": ["/sidecar"],
        "env": _environment(environment),
        "ports": [{"name": "sidecar", "containerPort": config.sidecar_port, "protocol": "TCP"}],
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


def _runtime_ahead(recipe: Recipe, network: bool) -> dict[str, str]:
    """Have the language's runtime started before its program comes, where there is a way to."""
    filters = {each: base64.b64encode(filter_bytes(network, each)).decode() for each in MACHINES}
    if recipe.code == "py":
        python = {"argv": list(waiting_python()), "env": GUEST_ENVIRONMENT, "cwd": DATA_FOLDER}
        return {"MILLRACE_PRESTART": json.dumps(python | {"seccomp": filters})}
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
        "seccomp": filters,
    }
    return {"MILLRACE_PRESTART": json.dumps(start)}


def _environment(values: Mapping[str, str]) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _millrace() -> Manifest:
    return {"name": "millrace", "mountPath": AGENT_FOLDER, "readOnly": True}


def _mount(name: str) -> Manifest:
    return {"name": name, "mountPath": PLACES[name]}


def memory_volume(name: str, size: int) -> Manifest:
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


def _with_disk(resources: Manifest, config: PodConfig) -> Manifest:
    """Return the language container's resources, with disk where code may write beside its folders."""
    if config.own_filesystem:
        return resources
    disk = {"ephemeral-storage": mebibytes(_LOGS_BYTES + config.disk_bytes_max)}
    return {kind: {**amounts, **disk} for kind, amounts in resources.items()}


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
