"""From how the processes ended to the one outcome, with a sentence for people."""

import os
import signal
from dataclasses import dataclass
from typing import Literal

from schemas.events import Stage
from schemas.limits import SandboxLimits

StopReason = Literal["timed_out", "cancelled", "flooded", "out_of_memory", "too_many_processes"]
"""Why we ended it ourselves."""

Outcome = Literal["exited", "timed_out", "out_of_memory", "killed", "cancelled"]

_SUBJECT: dict[Stage, str] = {"build": "The build", "run": "The program"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known beside the exit status when a command has ended."""

    stage: Stage
    limits: SandboxLimits
    """With the language's factors applied."""
    timeout_s: float
    disk_bytes_max: int
    flood_bytes_max: int
    dropped_bytes: int
    stopped: StopReason | None = None
    out_of_memory: bool = False
    """Some process of the group was killed for memory."""
    out_of_pids: bool = False
    """Some process could not be started."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome, exit code or signal, and the sentence."""

    outcome: Outcome
    exit_code: int | None
    signal: str | None
    message: str


def judge(status: int | None, around: Circumstances) -> Verdict:
    """Decide how it ended, by its wait status: None where process 1 took its knowledge with it."""
    code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
    outcome = _outcome(code, around)
    message = _sentence(outcome, code, around) + _remarks(outcome, around)
    if code >= 0:
        return Verdict(outcome, code, None, message)
    return Verdict(outcome, None, signal_name(-code), message)


def signal_name(number: int) -> str:
    """Return the name of a signal; the nameless real-time ones are counted from the first."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _outcome(code: int, around: Circumstances) -> Outcome:
    if code == -signal.SIGKILL and around.stopped in ("timed_out", "cancelled", "out_of_memory"):
        return around.stopped
    if around.out_of_memory and code != 0 and around.stopped is None:
        return "out_of_memory"
    return "exited" if code >= 0 else "killed"


def _sentence(outcome: Outcome, code: int, around: Circumstances) -> str:
    subject = _SUBJECT[around.stage]
    match outcome:
        case "timed_out":
            return f"{subject} was stopped at its time limit of {around.timeout_s:g} s."
        case "cancelled":
            return f"{subject} was cancelled."
        case "out_of_memory":
            return f"{subject} needed more than the memory limit of {size(around.limits.memory_bytes_max)}."
        case "killed":
            return f"{subject} was ended by {signal_name(-code)}{_because(-code, around)}."
        case "exited":
            return f"{subject} ended normally." if code == 0 else f"{subject} ended with exit code {code}."


def _because(number: int, around: Circumstances) -> str:
    if around.stopped == "flooded":
        return f": it wrote more than {size(around.flood_bytes_max)} beyond the output limit"
    if around.stopped == "too_many_processes":
        return f": it may have {around.limits.pids_max} processes"
    if number == signal.SIGXFSZ:
        return f": a file may not be larger than {size(around.disk_bytes_max)}"
    if number == signal.SIGSYS:
        return ": it made a system call that is not allowed here"
    return ""


def _remarks(outcome: Outcome, around: Circumstances) -> str:
    remarks = ""
    if around.out_of_pids and outcome != "cancelled":
        remarks += f" It reached the limit of {around.limits.pids_max} processes."
    if around.dropped_bytes:
        remarks += f" Output beyond {size(around.limits.output_bytes_max)} was dropped."
    return remarks


def size(count: int) -> str:
    """Write a number of bytes as people do: 512 MiB."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count} bytes"
