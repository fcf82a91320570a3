"""Control groups of version 1: a hierarchy for each controller, a folder of ours in each."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from sandboxes.local.cgroup_files import OpenFiles
from sandboxes.local.cgroups import (
    CPU_PERIOD_US,
    INIT_PROCESSES,
    LEFT_BYTES_MAX,
    Group,
    GroupLimits,
    GroupUsage,
    Place,
    read_count,
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
        self._files = OpenFiles()
        self._doors: list[int] = []
        self._names = {controller: f"{folder}/" for controller, folder in folders.items()}
        self._lifted = False

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
        write(cpu / "cpu.cfs_period_us", CPU_PERIOD_US)
        write_if_there(cpu / "cpu.cfs_burst_us", 0)  # never above the quota
        self.limits = limits
        self._limit_cpu()

    def _limit_cpu(self) -> None:
        quota = max(1000, round(self.limits.cpus * CPU_PERIOD_US))
        self._files.write(self._names["cpu"] + "cpu.cfs_quota_us", quota)
        with contextlib.suppress(FileNotFoundError):
            # what it did not use while it waited may help it start
            self._files.write(self._names["cpu"] + "cpu.cfs_burst_us", quota)
        self._lifted = False

    def join(self, pid: int) -> None:
        for folder in self._joins:
            write(folder / "cgroup.procs", pid)

    def doors(self) -> list[int]:
        if self._doors:
            return self._doors
        self.usage()  # what stays open is opened now, so that every group holds the same
        for folder in self._joins:
            self._files.open(f"{folder}/cgroup.procs", os.O_RDONLY)
        # a thread that moves itself does not stop every fork and exit on the machine meanwhile
        self._doors = [self._files.open(f"{folder}/tasks", os.O_WRONLY) for folder in self._joins]
        return self._doors

    def lift_cpu_quota(self) -> None:
        if self._lifted:
            return
        self._lifted = True
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                self._files.write(self._names["cpu"] + "cpu.cfs_burst_us", 0)
            self._files.write(self._names["cpu"] + "cpu.cfs_quota_us", -1)

    def usage(self) -> GroupUsage:
        files, memory = self._files, self._names["memory"]
        return GroupUsage(
            cpu_s=self.cpu_s(),
            memory_bytes_peak=files.count(memory + "memory.max_usage_in_bytes", flags=os.O_RDWR),
            oom_kills=files.count(memory + "memory.oom_control", "oom_kill"),
            pids_refused=files.count(self._names["pids"] + "pids.events", "max"),
        )

    def cpu_s(self) -> float:
        return self._files.count(self._names["cpuacct"] + "cpuacct.usage") / 1e9

    def renew(self) -> bool:
        files, memory = self._files, self._names["memory"]
        usage = self.usage()
        if usage.oom_kills or usage.pids_refused:
            return False
        if any(files.text(f"{folder}/cgroup.procs") for folder in self._joins):
            return False
        try:
            files.write(memory + "memory.max_usage_in_bytes", 0, os.O_RDWR)  # is what is in use from now on
            if self._lifted:
                self._limit_cpu()
        except OSError:
            return False
        return files.count(memory + "memory.max_usage_in_bytes", flags=os.O_RDWR) <= LEFT_BYTES_MAX

    def remove(self) -> None:
        self._files.close()
        for folder in self._joins:
            remove_folder(folder)
