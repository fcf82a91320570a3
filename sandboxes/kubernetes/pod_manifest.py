"""From a language and the settings to the pod that runs it: one pure function, and nothing else decides.

In agent mode the pod passes the Pod Security level `restricted`: an init container copies the agent from
the sidecar's image into a volume, the unmodified language image starts it, and the sidecar beside it is all
that the service talks to. In nsenter mode the sidecar has the privileges to enter the language container,
which still has none.
"""

import hashlib
import json

from sandboxes.kubernetes.config import MIB, PodConfig
from sandboxes.kubernetes.pod_containers import (
    PLACES,
    agent_copier,
    language_container,
    memory_volume,
    sidecar_container,
)
from sandboxes.kubernetes.pod_names import (
    INSTANCE_LABEL,
    LANGUAGE_LABEL,
    NAME_LABELS,
    TEMPLATE_LABEL,
    USE_LABEL,
    USER_ID,
    Identity,
    Manifest,
    owner_references,
)
from sandboxes.languages import recipe_for

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
        "initContainers": [agent_copier(config)],
        "containers": [language_container(recipe, config), sidecar_container(recipe, config, identity)],
        "volumes": [
            memory_volume("millrace", 32 * MIB),
            *(memory_volume(name, config.disk_bytes_max) for name in PLACES),
        ],
    }


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
