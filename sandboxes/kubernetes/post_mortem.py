"""Why a pod fell silent: what the cluster knows, put into the words of the sandbox protocol.

The code's own fault (too much memory, too much disk) is an outcome like any other; all else is the
sandbox's failure, and whether the code may run again is for `retry` to say.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Literal

from sandboxes.kubernetes.api import ApiError, KubernetesApi, Object
from sandboxes.kubernetes.pod_state import containers, pod_state
from sandboxes.protocol import SandboxFailed

_LOOKS = 8
_PAUSE_S = 0.5
"""The kubelet tells of an end about a second after it."""
_OUT_OF_DISK = re.compile(r"emptydir|ephemeral", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CodesFault:
    """The code ended its own pod."""

    outcome: Literal["out_of_memory", "killed", "cancelled"]
    message: str


async def post_mortem(api: KubernetesApi, name: str, what_we_saw: str) -> CodesFault:
    """Return how the code ended the pod `name`. Raises `SandboxFailed` if it did not, saying what did."""
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(_PAUSE_S)
        try:
            pod = await api.get("pods", name)
        except ApiError as error:
            if error.status == 404:
                raise SandboxFailed(f"the pod {name} was deleted") from error
            continue  # the API is away as well; perhaps not for long
        if fault := told(pod):
            return fault
    raise SandboxFailed(f"the pod {name} is lost: {what_we_saw}")


def told(pod: Object) -> CodesFault | None:
    """Return what a pod's status says; None if nothing yet. Raises `SandboxFailed`."""
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    if status.get("reason") == "Evicted":
        message = str(status.get("message", ""))
        if _OUT_OF_DISK.search(message):
            return CodesFault("killed", f"The program wrote more than its pod may hold: {message}")
        raise SandboxFailed(f"the pod {name} was evicted: {message}")
    for container in containers(status):
        ended = container.get("state", {}).get("terminated")
        if ended and container["name"] != "agent" and ended.get("reason") == "OOMKilled":
            return CodesFault("out_of_memory", "The program needed more than the memory limit of its pod.")
    _raise_what_is_over(pod, status)
    return None


def _raise_what_is_over(pod: Object, status: dict[str, Any]) -> None:
    state = pod_state(pod)
    if state.is_deleting:
        raise SandboxFailed(f"the pod {state.name} was deleted")
    if state.is_over:
        raise SandboxFailed(f"the pod {state.name} is over: {state.trouble}")
    if status.get("reason") == "NodeLost":
        raise SandboxFailed(f"the node of pod {state.name} is lost")
