"""From a recipe and a program to the commands that process 1 shall start, each with its limits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandboxes.languages import Recipe, Steps
from sandboxes.local.bubblewrap import DATA_FOLDER, PROGRAM_FOLDER
from sandboxes.local.cgroups import INIT_PROCESSES
from sandboxes.protocol import Program
from sandboxes.tool_kit import Channel
from sandboxes.toolchain import Prestart
from schemas.events import Stage
from schemas.limits import SandboxLimits

_DATA_FACTOR, _DATA_BYTES_MIN = 4, 4 * 1024**3
"""Without cgroups the memory watch needs some milliseconds: this bounds what one process gets meanwhile."""
_MEMLOCK_BYTES = 64 * 1024
_STDIO = [0, 1, 2]
CHANNEL = Channel(answers_fd=62, calls_fd=63)
"""Beyond the descriptors that anything in a sandbox has open when a program starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command line of a stage."""

    stage: Stage
    argv: Sequence[str]
    env: dict[str, str]
    folder: str
    timeout_s: float
    """For all commands of the stage together."""
    tools: bool = False
    """Whether it gets a `CHANNEL`."""


def commands(recipe: Recipe, steps: Steps, program: Program, timeout_s: float, path: str) -> list[Command]:
    """Return the build commands, in the program folder, and the run, in the working directory."""
    env = {**environment(path), **steps.env}
    build = [
        Command(
            stage="build",
            argv=argv,
            env=env,
            folder=PROGRAM_FOLDER,
            timeout_s=timeout_s * recipe.time_factor,
        )
        for argv in steps.build
    ]
    run = Command(
        stage="run",
        argv=steps.run,
        env={**env, **program.env},
        folder=DATA_FOLDER,
        timeout_s=timeout_s,
        tools=bool(program.tools),
    )
    return [*build, run]


def command_ahead(prestart: Prestart, recipe: Recipe, path: str) -> Command:
    """Return the command that starts a runtime before its program comes."""
    steps = replace(recipe, run=prestart.command, env={**recipe.env, **prestart.env}).steps(
        "", PROGRAM_FOLDER
    )
    (*_, command) = commands(recipe, steps, Program(""), 0.0, path)
    return command


def order(command: Command, limits: SandboxLimits, disk_bytes_max: int, *, grouped: bool) -> dict[str, Any]:
    """Return the order for process 1. `grouped`: a control group limits memory and processes already."""
    return {
        "argv": list(command.argv),
        "env": command.env,
        "cwd": command.folder,
        "places": [*_STDIO, CHANNEL.answers_fd, CHANNEL.calls_fd] if command.tools else _STDIO,
        **limiting(limits, disk_bytes_max, grouped=grouped),
    }


def order_ahead(command: Command) -> dict[str, Any]:
    """Return the order to start a runtime ahead, without limits: one may be lowered later, never raised."""
    return {
        "argv": list(command.argv),
        "env": command.env,
        "cwd": command.folder,
        "places": _STDIO,
        "rlimits": {},
        "memory_watch_bytes": 0,
    }


def limiting(limits: SandboxLimits, disk_bytes_max: int, *, grouped: bool) -> dict[str, Any]:
    """Return the part of an order that limits: each process, by the names of getrlimit(2), and the memory."""
    rlimits = {
        "CORE": 0,
        "NOFILE": limits.open_files_max,
        "FSIZE": disk_bytes_max,
        "MEMLOCK": _MEMLOCK_BYTES,
    }
    if not grouped:
        # counted for each user namespace, so for this sandbox alone; process 1 is in it
        rlimits["NPROC"] = limits.pids_max + INIT_PROCESSES
        rlimits["DATA"] = max(limits.memory_bytes_max * _DATA_FACTOR, _DATA_BYTES_MIN)
    return {"rlimits": rlimits, "memory_watch_bytes": 0 if grouped else limits.memory_bytes_max}


def environment(path: str) -> dict[str, str]:
    """Return what every program finds in its environment, beside its language's and its own."""
    scratch = "/tmp"  # noqa: S108 - the sandbox's own
    return {"PATH": path, "HOME": scratch, "TMPDIR": scratch, "USER": "sandbox", "LANG": "C.UTF-8"}
