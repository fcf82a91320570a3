"""The Job for one execution of a language that no pod waits for, around the same pod as the pool's."""

from sandboxes.kubernetes.config import PodConfig
from sandboxes.kubernetes.pod_manifest import pod_labels, pod_spec
from sandboxes.kubernetes.pod_names import HOLDER_LABEL, Identity, Manifest, owner_references

_KEPT_S = 60
"""How long an ended Job is kept if its handler did not delete it."""


def job_manifest(language: str, config: PodConfig, identity: Identity, holder: str) -> Manifest:
    """Return the Job; it never tries twice, for only its handler may decide that."""
    labels = {**pod_labels(language, config, "job"), HOLDER_LABEL: holder}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": identity.name, "labels": labels, **owner_references(identity.owner)},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": identity.deadline_s,
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": {
                "metadata": {"labels": labels},
                "spec": pod_spec(language, config, identity),
            },
        },
    }
