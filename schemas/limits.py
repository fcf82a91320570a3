"""What one execution may use: asked for in a command, bounded by the operator, told to the sandbox."""

from typing import TypeVar

import msgspec

_N = TypeVar("_N", int, float)

TOOL_CALLS_MAX = 200
"""How many tools one execution may call."""
TOOL_RESULT_BYTES_MAX = 5 * 1024 * 1024
"""Of one result as JSON."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits a publisher asks for. They may lower the operator's, never raise them; None asks nothing."""

    timeout_s: float | None = None
    memory_bytes_max: int | None = None
    cpus: float | None = None
    pids_max: int | None = None
    output_bytes_max: int | None = None


_NOTHING_ASKED = Limits()


class SandboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in force for one execution, every one of them decided."""

    timeout_s: float = 30.0
    """Wall time of the build and of the run, each."""
    memory_bytes_max: int = 512 * 1024 * 1024
    """Of the whole group of processes, their tmpfs files included."""
    cpus: float = 0.5
    pids_max: int = 512
    open_files_max: int = 1024
    file_bytes_max: int = 10 * 1024 * 1024
    """Of one output file that is kept; larger ones are reported and left behind."""
    files_bytes_max: int = 50 * 1024 * 1024
    """Of all output files that are kept together."""
    files_max: int = 10
    """How many output files are kept."""
    output_bytes_max: int = 1024 * 1024
    """Of stdout and stderr together; what comes after is counted and dropped."""

    def lowered_by(self, asked: Limits) -> "SandboxLimits":
        """Return these limits, lowered where `asked` wants less."""
        if asked == _NOTHING_ASKED:
            return self
        return msgspec.structs.replace(
            self,
            timeout_s=_lower(self.timeout_s, asked.timeout_s),
            memory_bytes_max=_lower(self.memory_bytes_max, asked.memory_bytes_max),
            cpus=_lower(self.cpus, asked.cpus),
            pids_max=_lower(self.pids_max, asked.pids_max),
            output_bytes_max=_lower(self.output_bytes_max, asked.output_bytes_max),
        )


def _lower(ours: _N, asked: _N | None) -> _N:
    return ours if asked is None else min(ours, asked)
