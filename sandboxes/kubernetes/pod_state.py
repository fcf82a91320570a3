"""What a pod's JSON says about it, in the few words that decide what to do with it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sandboxes.kubernetes.api import Object
from sandboxes.kubernetes.pod_names import HOLDER_LABEL, LANGUAGE_LABEL, SECRET_VARIABLE, TEMPLATE_LABEL

_STUCK = frozenset({
    "CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull",
    "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "InvalidImageName", "RunContainerError",
})  # fmt: skip
"""Why a container waits, where waiting alone does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """One pod as last seen."""

    name: str
    uid: str
    language: str
    template: str
    holder: str
    """The handler a Job's pod works for."""
    address: str
    """Host and port of its sidecar; empty until it has an IP."""
    created_at: datetime
    is_ready: bool
    ready_changed_at: datetime
    """When it last got ready, or ceased to be."""
    secret_sha256: str
    """What its sidecar knows of its secret."""
    is_over: bool
    """It failed, ended, is being deleted, or one of its containers is gone: it never gets ready again."""
    is_deleting: bool
    trouble: str
    """Why it is over, or not ready yet, in words; empty while nothing is wrong."""

    def age_s(self, now: datetime) -> float:
        """Return the seconds since it was created."""
        return (now - self.created_at).total_seconds()


def pod_state(pod: Object) -> PodState:
    """Read a pod."""
    metadata, status = pod["metadata"], pod.get("status", {})
    labels = metadata.get("labels", {})
    deleting = "deletionTimestamp" in metadata
    ended, ready = _ended(status), _condition(status, "Ready")
    return PodState(
        name=metadata["name"],
        uid=metadata["uid"],
        language=labels.get(LANGUAGE_LABEL, ""),
        template=labels.get(TEMPLATE_LABEL, ""),
        holder=labels.get(HOLDER_LABEL, ""),
        address=_address(pod),
        created_at=parse_time(metadata["creationTimestamp"]),
        is_ready=ready.get("status") == "True" and not deleting and not ended,
        ready_changed_at=parse_time(ready.get("lastTransitionTime") or metadata["creationTimestamp"]),
        secret_sha256=_secret_sha256(pod),
        is_over=deleting or bool(ended),
        is_deleting=deleting,
        trouble=ended or _stuck(status),
    )


def parse_time(text: str) -> datetime:
    """Read a time as the API writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the status of each container, those of the preparation first."""
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _address(pod: Object) -> str:
    ip, ports = pod.get("status", {}).get("podIP", ""), _sidecar(pod).get("ports") or ()
    if not ip or not ports:
        return ""
    return f"[{ip}]:{ports[0]['containerPort']}" if ":" in ip else f"{ip}:{ports[0]['containerPort']}"


def _secret_sha256(pod: Object) -> str:
    variables = _sidecar(pod).get("env") or ()
    return next((each.get("value", "") for each in variables if each["name"] == SECRET_VARIABLE), "")


def _sidecar(pod: Object) -> Object:
    return next((each for each in pod["spec"]["containers"] if each["name"] == "sidecar"), {})


def _ended(status: dict[str, Any]) -> str:
    """Return why the pod is over; empty while it is not."""
    if status.get("phase") in ("Failed", "Succeeded"):
        reason = status.get("reason") or _first_death(status) or status["phase"]
        return f"{reason}: {status['message']}" if status.get("message") else str(reason)
    return _first_death(status)


def _first_death(status: dict[str, Any]) -> str:
    """Return which container ended, the failed one rather than those that ended because of it."""
    ends = [(each["name"], each.get("state", {}).get("terminated")) for each in containers(status)]
    deaths = [(name, end) for name, end in ends if end and (end.get("exitCode") != 0 or name != "agent")]
    if not deaths:
        return ""
    name, end = min(deaths, key=lambda death: death[1].get("exitCode") == 0)
    return f"{name} ended: {end.get('reason') or 'Terminated'}, exit code {end.get('exitCode')}"


def _stuck(status: dict[str, Any]) -> str:
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', 'no node takes it')}"
    for container in containers(status):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            return f"{waiting['reason']}: {waiting.get('message', container['name'])}"
    return ""


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((entry for entry in status.get("conditions") or () if entry["type"] == kind), {})
