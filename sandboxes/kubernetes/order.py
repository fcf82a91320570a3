"""From a program to what a sidecar is asked to run, and from what it tells to how it ended: pure."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sandboxes.changes import Found, Mark
from sandboxes.kubernetes.config import MIB, PodConfig
from sandboxes.kubernetes.pod_containers import GUEST_ENVIRONMENT
from sandboxes.kubernetes.pod_names import DATA_FOLDER, PROGRAM_FOLDER
from sandboxes.kubernetes.quantities import bytes_of
from sandboxes.languages import Recipe, Steps
from sandboxes.prestart import ORDER_BYTES_MAX, order_text, prestart_of
from sandboxes.protocol import Exit, Program
from sandboxes.seccomp import filter_bytes
from sandboxes.state_files import plan_of_state
from sandboxes.verdict import Circumstances, StopReason, judge
from sandboxes.waiting_python import python_order
from schemas.events import OutputCount, Stage
from schemas.limits import SandboxLimits

FLOOD_BYTES_MAX = 64 * MIB
_AGENT_BYTES = 32 * MIB
"""What the agent may need of the container's memory."""
Order = dict[str, Any]


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, as the sidecar tells it."""

    stage: Stage = "run"
    status: int | None = None
    stopped: StopReason | None = None
    oom_kills: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes_peak: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    dropped_bytes: int = 0


def limits_in_pod(limits: SandboxLimits, recipe: Recipe, config: PodConfig) -> SandboxLimits:
    """Return the limits of a run: the language's factor, and no more than the container has for it."""
    container = int(bytes_of(config.memory_limit) * recipe.memory_factor)
    wanted = int(limits.memory_bytes_max * recipe.memory_factor)
    return msgspec.structs.replace(limits, memory_bytes_max=min(wanted, max(container - _AGENT_BYTES, MIB)))


def run_order(
    recipe: Recipe,
    steps: Steps,
    program: Program,
    limits: SandboxLimits,
    config: PodConfig,
    machine: str,
) -> Order:
    """Return the body of `POST /v1/run`. Raises `Misconfigured` for a machine without a filter."""
    env = {**GUEST_ENVIRONMENT, **steps.env}
    build = [
        _command("build", argv, env, PROGRAM_FOLDER, limits.timeout_s * recipe.time_factor)
        for argv in steps.build
    ]
    run = _command("run", steps.run, {**env, **program.env}, DATA_FOLDER, limits.timeout_s)
    order: Order = {
        "commands": [*build, run],
        "files": [{"name": steps.file_name, "content": _base64(program.code.encode())}],
        "stdin": _base64(program.stdin),
        "keep_stdin_open": program.keep_stdin_open,
        "tools": bool(program.tools),
        "limits": {
            "memory_bytes_max": limits.memory_bytes_max,
            "pids_max": limits.pids_max,
            "open_files_max": limits.open_files_max,
            "disk_bytes_max": config.disk_bytes_max,
            "output_bytes_max": limits.output_bytes_max,
            "flood_bytes_max": FLOOD_BYTES_MAX,
            "cpus": _cpus(limits, config),
        },
        "seccomp": _base64(filter_bytes(config.network, machine)),
    }
    if (text := _to_whoever_waits(recipe, steps, program)) and len(text) <= ORDER_BYTES_MAX:
        order["order"] = text
    return order


def _cpus(limits: SandboxLimits, config: PodConfig) -> float:
    """Return what the agent is to hold the run to; 0 where the request asks nothing below the container's."""
    return limits.cpus if limits.cpus < config.limits.cpus else 0


def _to_whoever_waits(recipe: Recipe, steps: Steps, program: Program) -> str:
    """Return what to say to a runtime that waits; empty if this program needs another."""
    if program.tools:
        return ""
    if recipe.code == "py":
        main = f"{PROGRAM_FOLDER}/{steps.file_name}"
        plan = plan_of_state(PROGRAM_FOLDER, program.state) if program.state else ""
        return python_order(main, program.args, program.env, plan)
    if prestart_of(recipe) is None or program.env:  # they have read their environment already
        return ""
    return order_text(steps, program.args).decode()


def exit_of(ending: Ending, recipe: Recipe, limits: SandboxLimits, config: PodConfig) -> Exit:
    """Return how it ended in the words of the protocol. `limits` are those of the run."""
    factor = recipe.time_factor if ending.stage == "build" else 1.0
    around = Circumstances(
        stage=ending.stage,
        limits=limits,
        timeout_s=limits.timeout_s * factor,
        disk_bytes_max=config.disk_bytes_max,
        flood_bytes_max=FLOOD_BYTES_MAX,
        dropped_bytes=ending.dropped_bytes,
        stopped=ending.stopped,
        out_of_memory=ending.oom_kills > 0,
    )
    verdict = judge(ending.status, around)
    return Exit(
        outcome=verdict.outcome,
        stage=ending.stage,
        exit_code=verdict.exit_code,
        signal=verdict.signal,
        message=verdict.message,
        wall_s=ending.wall_s,
        cpu_s=ending.cpu_s,
        memory_bytes_peak=ending.memory_bytes_peak,
        output=OutputCount(
            stdout_bytes=ending.stdout_bytes,
            stderr_bytes=ending.stderr_bytes,
            dropped_bytes=ending.dropped_bytes,
        ),
    )


def ending_of(payload: bytes) -> Ending:
    """Read the last frame. Raises `msgspec.MsgspecError`."""
    told = msgspec.json.decode(payload, type=dict[str, Any])
    return msgspec.convert({key: value for key, value in told.items() if value != ""}, Ending)


def found_in(listing: Sequence[Mapping[str, Any]]) -> list[Found]:
    """Read a listing of the working directory."""
    return [_found(entry) for entry in listing]


def _found(entry: Mapping[str, Any]) -> Found:
    if entry.get("why_not"):
        return Found(str(entry["name"]), None, str(entry["why_not"]))
    mark = Mark(
        inode=int(entry["inode"]),
        size_bytes=int(entry["size_bytes"]),
        modified_ns=int(entry["modified_ns"]),
        changed_ns=int(entry["changed_ns"]),
    )
    return Found(str(entry["name"]), mark)


def _command(
    stage: Stage, argv: Sequence[str], env: Mapping[str, str], folder: str, timeout_s: float
) -> Order:
    return {"stage": stage, "argv": list(argv), "env": dict(env), "cwd": folder, "timeout_s": timeout_s}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
