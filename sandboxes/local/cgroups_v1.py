"""Control groups of version 1: a hierarchy for each controller, a folder of ours in each."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from sandboxes.local.cgroups import (
    CPU_PERIOD_US,
    INIT_PROCESSES,
    Group,
    GroupLimits,
    GroupUsage,
    Place,
    open_doors,
    read_count,
    read_counts,
    remove_folder,
    write,
    write_if_there,
)

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")


class HierarchyV1:
    """Our own groups in four hierarchies; `cpu` and `cpuacct` are often the same one."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        # `cpu` and `cpuacct` are often links to one place
        self._places = {controller: places[controller].own.resolve() for controller in CONTROLLERS}
        self._tops = {places[controller].top.resolve() for controller in CONTROLLERS}

    def make(self, name: str, limits: GroupLimits) -> Group:
        """Make a group with its limits. Raises OSError."""
        group = _GroupV1({controller: place / name for controller, place in self._places.items()})
        try:
            group.set_up(limits)
        except OSError:
            group.remove()
            raise
        return group

    def leftovers(self) -> Iterable[Path]:
        """Find groups in all of each hierarchy: a predecessor may have run in another group."""
        for top in self._tops:
            for folder, names, _ in os.walk(top):  # unlike a glob, it bears folders that vanish meanwhile
                yield from (Path(folder, name) for name in names if name.startswith("millrace-"))


class _GroupV1:
    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._joins = tuple(dict.fromkeys(folders.values()))

    def set_up(self, limits: GroupLimits) -> None:
        for folder in self._joins:
            folder.mkdir()
        # without swap accounting there is no memsw file: then forbid swapping as far as possible
        write_if_there(self._folders["memory"] / "memory.swappiness", 0)
        self.limit(limits)

    def limit(self, limits: GroupLimits) -> None:
        memory, pids, cpu = (self._folders[name] for name in ("memory", "pids", "cpu"))
        bounds = [memory / "memory.limit_in_bytes", memory / "memory.memsw.limit_in_bytes"]
        if limits.memory_bytes_max > read_count(bounds[0]):
            bounds.reverse()  # the second must never be below the first
        for bound in bounds:
            write_if_there(bound, limits.memory_bytes_max)
        write(pids / "pids.max", limits.pids_max + INIT_PROCESSES)
        quota = max(1000, round(limits.cpus * CPU_PERIOD_US))
        write(cpu / "cpu.cfs_period_us", CPU_PERIOD_US)
        write_if_there(cpu / "cpu.cfs_burst_us", 0)  # never above the quota
        write(cpu / "cpu.cfs_quota_us", quota)
        # what it did not use while it waited may help it start
        write_if_there(cpu / "cpu.cfs_burst_us", quota)

    def join(self, pid: int) -> None:
        for folder in self._joins:
            write(folder / "cgroup.procs", pid)

    def doors(self) -> list[int]:
        return open_doors(self._joins)

    def lift_cpu_quota(self) -> None:
        with contextlib.suppress(OSError):
            write_if_there(self._folders["cpu"] / "cpu.cfs_burst_us", 0)
            write(self._folders["cpu"] / "cpu.cfs_quota_us", -1)

    def usage(self) -> GroupUsage:
        memory, pids = self._folders["memory"], self._folders["pids"]
        return GroupUsage(
            cpu_s=read_count(self._folders["cpuacct"] / "cpuacct.usage") / 1e9,
            memory_bytes_peak=read_count(memory / "memory.max_usage_in_bytes"),
            oom_kills=read_counts(memory / "memory.oom_control").get("oom_kill", 0),
            pids_refused=read_counts(pids / "pids.events").get("max", 0),
        )

    def remove(self) -> None:
        for folder in self._joins:
            remove_folder(folder)
