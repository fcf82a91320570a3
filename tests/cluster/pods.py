"""A pod as sandboxes/sidecar/PROTOCOL.md wants it, written out by hand, and a way to talk to its sidecar."""

import hashlib
from typing import Any

from tests.cluster.images import image_name
from tests.sidecar.pair import Client

AGENT_PORT, SIDECAR_PORT = 9090, 8080
_CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
_ENTERING = {
    "allowPrivilegeEscalation": True,
    "capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"]},
    "readOnlyRootFilesystem": True,
}
_FOLDERS = {"data": "/mnt/data", "program": "/program"}


def sandbox_pod(
    name: str,
    secret: str,
    *,
    language: str = "py",
    nsenter: bool = False,
    prestart: str = "",
    memory: str = "256Mi",
) -> dict[str, Any]:
    """Return the manifest of a pod that waits for one execution."""
    mode = "nsenter" if nsenter else "agent"
    sidecar_image = image_name("sidecar-nsenter" if nsenter else "sidecar")
    shared = [{"name": volume, "mountPath": place} for volume, place in _FOLDERS.items()]
    ours = {"name": "millrace", "mountPath": "/millrace", "readOnly": True}
    environment = {
        "MILLRACE_SECRET_SHA256": hashlib.sha256(secret.encode()).hexdigest(),
        "K8S_EXECUTOR_PORT": str(AGENT_PORT),
        "K8S_EXECUTION_MODE": mode,
        "MILLRACE_PRESTART": prestart,
    }
    sidecar = {
        **_container("sidecar", sidecar_image, memory if nsenter else "64Mi"),
        "securityContext": _ENTERING if nsenter else _CONFINED,
        "env": _variables(environment),
        "volumeMounts": [ours, *shared],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": SIDECAR_PORT}, "periodSeconds": 1},
    }
    code = {
        **_container("language", image_name(language), memory),
        "command": ["/millrace/agent", *(["hold"] if nsenter else [])],
        "env": _variables({"K8S_EXECUTOR_PORT": str(AGENT_PORT)}),
        "securityContext": _CONFINED,
        "volumeMounts": [ours, *shared, {"name": "tmp", "mountPath": "/tmp"}],
    }
    install = {
        **_container("agent", sidecar_image, "64Mi"),
        "command": ["/sidecar", "install", "/millrace"],
        "securityContext": _ENTERING if nsenter else _CONFINED,
        "volumeMounts": [{"name": "millrace", "mountPath": "/millrace"}],
    }
    in_memory = [
        {"name": each, "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}} for each in (*_FOLDERS, "tmp")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "initContainers": [install],
            "containers": [code, sidecar],
            "volumes": [{"name": "millrace", "emptyDir": {"sizeLimit": "64Mi"}}, *in_memory],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "shareProcessNamespace": nsenter,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }


def client_of(status: dict[str, Any], secret: str) -> Client:
    """Return what talks to the sidecar of a pod that is ready."""
    return Client(status["podIP"], SIDECAR_PORT, secret)


def _container(name: str, image: str, memory: str) -> dict[str, Any]:
    resources = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": memory}}
    return {"name": name, "image": image, "imagePullPolicy": "Never", "resources": resources}


def _variables(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]
