"""What an execution used, and how that and its verdict are told."""

from dataclasses import replace

from sandboxes.local.cgroups import Group, GroupUsage
from sandboxes.local.control import Ended
from sandboxes.local.pump import OutputBudget
from sandboxes.protocol import Exit
from sandboxes.verdict import Verdict
from schemas.events import Stage


class Account:
    """One execution's: from its control group, or else from what process 1 added up."""

    def __init__(self, group: Group | None, cpu_s_before: float, budget: OutputBudget) -> None:
        self._group = group
        self._cpu_s_before = cpu_s_before
        self._budget = budget

    def usage(self, ended: Ended | None) -> GroupUsage:
        """Return what all processes used; `ended` is the last word of process 1, if there is one."""
        usage = self._usage_of_all(ended)
        return replace(usage, cpu_s=max(0.0, usage.cpu_s - self._cpu_s_before))

    def _usage_of_all(self, ended: Ended | None) -> GroupUsage:
        if self._group:
            return self._group.usage()
        ended = ended or Ended(status=9, cpu_s=0.0, memory_bytes_peak=0, over_memory=False)
        return GroupUsage(
            cpu_s=ended.cpu_s,
            memory_bytes_peak=ended.memory_bytes_peak,
            oom_kills=int(ended.over_memory),
            pids_refused=0,
        )

    def exit(self, stage: Stage, verdict: Verdict, usage: GroupUsage, wall_s: float) -> Exit:
        """Return the frame that comes last."""
        return Exit(
            outcome=verdict.outcome,
            stage=stage,
            exit_code=verdict.exit_code,
            signal=verdict.signal,
            message=verdict.message,
            wall_s=wall_s,
            cpu_s=usage.cpu_s,
            memory_bytes_peak=usage.memory_bytes_peak,
            output=self._budget.count(),
        )
