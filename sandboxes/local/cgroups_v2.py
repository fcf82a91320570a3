"""Control groups of version 2: one hierarchy, one folder of ours in it."""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sandboxes.local.cgroup_files import OpenFiles
from sandboxes.local.cgroups import (
    CPU_PERIOD_US,
    INIT_PROCESSES,
    LEFT_BYTES_MAX,
    Group,
    GroupLimits,
    GroupUsage,
    read_count,
    remove_folder,
    write_if_there,
)

CONTROLLERS = ("memory", "pids", "cpu")
_SERVICE = "millrace-service"


class HierarchyV2:
    """Our own group, which hands its controllers down to the executions' groups."""

    def __init__(self, place: Path) -> None:
        self._place = place.parent if place.name == _SERVICE else place

    def hand_down(self) -> None:
        """Make the controllers available below. Raises OSError if that cannot be.

        A group with processes may not do that (the "no internal process" rule), so this process, if it
        is alone in its group, moves one level down. Processes of others are never moved.
        """
        wanted = " ".join(f"+{controller}" for controller in CONTROLLERS)
        subtree = self._place / "cgroup.subtree_control"
        if set(CONTROLLERS) <= set(subtree.read_text().split()):
            return
        try:
            subtree.write_text(wanted)
        except OSError:
            if (self._place / "cgroup.procs").read_text().split() != [str(os.getpid())]:
                raise
            service = self._place / _SERVICE
            with suppress(FileExistsError):
                service.mkdir()
            (service / "cgroup.procs").write_text(str(os.getpid()))
            subtree.write_text(wanted)

    def make(self, name: str, limits: GroupLimits) -> Group:
        """Make a group with its limits. Raises OSError."""
        group = _GroupV2(self._place / name)
        try:
            group.set_up(limits)
        except OSError:
            group.remove()
            raise
        return group

    def leftovers(self) -> Iterable[Path]:
        """Find groups beside those we make."""
        return list(self._place.glob("millrace-*"))


class _GroupV2:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = OpenFiles()
        self._doors: list[int] = []

    def set_up(self, limits: GroupLimits) -> None:
        self._folder.mkdir()
        write_if_there(self._folder / "memory.swap.max", 0)
        self.limit(limits)

    def limit(self, limits: GroupLimits) -> None:
        if read_count(self._folder / "memory.current") > limits.memory_bytes_max:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))  # the kernel would kill
        self._write("memory.max", limits.memory_bytes_max)
        self._write("pids.max", limits.pids_max + INIT_PROCESSES)
        self.limits = limits
        self._limit_cpu()

    def _limit_cpu(self) -> None:
        quota = max(1000, round(self.limits.cpus * CPU_PERIOD_US))
        write_if_there(self._folder / "cpu.max.burst", 0)  # never above the quota
        self._write("cpu.max", f"{quota} {CPU_PERIOD_US}")
        # what it did not use while it waited may help it start
        write_if_there(self._folder / "cpu.max.burst", quota)

    def join(self, pid: int) -> None:
        self._write("cgroup.procs", pid)

    def doors(self) -> list[int]:
        if self._doors:
            return self._doors
        self.usage()  # what stays open is opened now, so that every group holds the same
        for name in ("cgroup.procs", "memory.current"):
            self._files.open(f"{self._folder}/{name}", os.O_RDONLY)
        self._doors = [self._files.open(f"{self._folder}/cgroup.procs", os.O_WRONLY)]
        return self._doors

    def lift_cpu_quota(self) -> None:
        with suppress(OSError):
            write_if_there(self._folder / "cpu.max.burst", 0)
            self._write("cpu.max", f"max {CPU_PERIOD_US}")

    def usage(self) -> GroupUsage:
        files, folder = self._files, self._folder
        return GroupUsage(
            cpu_s=self.cpu_s(),
            memory_bytes_peak=self._peak(),
            oom_kills=files.count(f"{folder}/memory.events", "oom_kill"),
            pids_refused=files.count(f"{folder}/pids.events", "max"),
        )

    def cpu_s(self) -> float:
        return self._files.count(f"{self._folder}/cpu.stat", "usage_usec") / 1e6

    def _peak(self) -> int:
        """Linux 5.19; from 6.12 on it may be written to, then to count anew for the same fd."""
        path = f"{self._folder}/memory.peak"
        try:
            return self._files.count(path, flags=os.O_RDWR)
        except OSError:
            return self._files.count(path)

    def renew(self) -> bool:
        files, folder = self._files, self._folder
        usage = self.usage()
        if usage.oom_kills or usage.pids_refused or files.text(f"{folder}/cgroup.procs"):
            return False
        try:
            files.write(f"{folder}/memory.peak", "reset", os.O_RDWR)
            self._limit_cpu()
        except OSError:
            return False
        return files.count(f"{folder}/memory.current") <= LEFT_BYTES_MAX

    def remove(self) -> None:
        self._files.close()
        remove_folder(self._folder)

    def _write(self, name: str, value: object) -> None:
        (self._folder / name).write_text(str(value))
