"""What the pool has to do, from what is there: pure, so that every situation can be tried.

It starts from the cluster's pods and the register's words alone. Whoever leads next, after a crash at any
step, decides the same, and finishes what was begun.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sandboxes.kubernetes.claims import holder_of
from sandboxes.kubernetes.pod_state import PodState

UNREADY_S_MAX = 10.0
"""A pod that was ready may be without an answer for so long: probes are late on a busy node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that a decision depends on."""

    pods: Mapping[str, PodState]
    states: Mapping[str, str]
    """The register: name to state."""
    gone: Callable[[str], bool]
    """Whether a handler is surely dead, by its id."""
    sizes: Mapping[str, int]
    templates: Mapping[str, str]
    """For each language with a pool, the template of today."""
    digest: Callable[[str], str]
    """What the sidecar of a pod by this name should know of its secret."""
    now: datetime
    start_timeout_s: float
    idle_s_max: float


LEFT_S_MAX = 120.0
"""A claimed pod that is over is its handler's to delete for so long."""

Use = Literal["starting", "ready", "register", "busy", "delete", "leave"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one pod."""

    use: Use
    why: str = ""
    """Of a deletion, for people."""
    is_failure: bool = False
    """The pod was to be ready and is not: starting another at once would not help."""


@dataclass(slots=True)
class Plan:
    """What to do, in this order."""

    forget: list[str] = field(default_factory=list)
    """Known to the register, and gone."""
    register: list[PodState] = field(default_factory=list)
    delete: list[tuple[PodState, Verdict]] = field(default_factory=list)
    ready: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """For each language, those to be registered included."""
    starting: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    trouble: dict[str, str] = field(default_factory=dict)
    """For each language, what hinders a pod from getting ready."""


def make_plan(scene: Scene) -> Plan:
    """Decide about every pod, and about every pod that is no more. Of too many those that wait are kept."""
    plan = Plan(forget=[name for name in scene.states if name not in scene.pods])
    waits = {name: state == "ready" for name, state in scene.states.items()}
    for pod in sorted(
        scene.pods.values(), key=lambda pod: (not waits.get(pod.name), pod.created_at, pod.name)
    ):
        verdict = judge_pod(pod, scene.states.get(pod.name, ""), scene)
        if _is_surplus(pod, verdict, plan, scene):
            verdict = Verdict("delete", "there are more than the settings want")
        _note(pod, verdict, plan)
    return plan


def judge_pod(pod: PodState, state: str, scene: Scene) -> Verdict:
    """Decide what becomes of one pod."""
    if pod.is_deleting:
        return Verdict("leave")
    if holder := holder_of(state):
        return _judge_claimed(pod, holder, scene)
    if state == "spent":
        return Verdict("delete", "it was used")
    if pod.template != scene.templates.get(pod.language) or pod.secret_sha256 != scene.digest(pod.name):
        return Verdict("delete", "it was made from other settings")
    if pod.is_over:
        return Verdict("delete", pod.trouble, is_failure=True)
    return _judge_life(pod, state, scene)


def _judge_claimed(pod: PodState, holder: str, scene: Scene) -> Verdict:
    """Decide about a pod that is, or was, somebody's."""
    if scene.gone(holder):
        return Verdict("delete", "its handler died")
    over_s = (scene.now - pod.ready_changed_at).total_seconds() if pod.is_over else 0.0
    return (
        Verdict("delete", "it is over, and its handler left it") if over_s > LEFT_S_MAX else Verdict("busy")
    )


def _judge_life(pod: PodState, state: str, scene: Scene) -> Verdict:
    """Decide about a pod that could be of use."""
    age_s = pod.age_s(scene.now)
    if age_s > scene.idle_s_max:
        return Verdict("delete", "it has waited for too long")
    if pod.is_ready:
        return Verdict("ready" if state == "ready" else "register")
    if state == "ready":
        unready_s = (scene.now - pod.ready_changed_at).total_seconds()
        late = unready_s > UNREADY_S_MAX
        return Verdict("delete", "it ceased to be ready", is_failure=True) if late else Verdict("ready")
    if age_s > scene.start_timeout_s:
        late_why = pod.trouble or f"it was not ready within {scene.start_timeout_s:g} s"
        return Verdict("delete", late_why, is_failure=True)
    return Verdict("starting")


def _is_surplus(pod: PodState, verdict: Verdict, plan: Plan, scene: Scene) -> bool:
    if verdict.use not in ("starting", "ready", "register"):
        return False
    kept = plan.ready[pod.language] + plan.starting[pod.language]
    return kept >= scene.sizes.get(pod.language, 0)


def _note(pod: PodState, verdict: Verdict, plan: Plan) -> None:
    match verdict.use:
        case "starting":
            plan.starting[pod.language] += 1
        case "ready":
            plan.ready[pod.language] += 1
        case "register":
            plan.ready[pod.language] += 1
            plan.register.append(pod)
        case "delete":
            plan.delete.append((pod, verdict))
        case "busy" | "leave":
            pass
    if (
        pod.trouble
        and verdict.use in ("starting", "delete")
        and (verdict.is_failure or verdict.use == "starting")
    ):
        plan.trouble[pod.language] = pod.trouble
    elif verdict.is_failure:
        plan.trouble[pod.language] = verdict.why
