"""Control groups of version 2: one hierarchy, one folder of ours in it."""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sandboxes.local.cgroups import (
    CPU_PERIOD_US,
    INIT_PROCESSES,
    Group,
    GroupLimits,
    GroupUsage,
    open_doors,
    read_count,
    read_counts,
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

    def set_up(self, limits: GroupLimits) -> None:
        self._folder.mkdir()
        write_if_there(self._folder / "memory.swap.max", 0)
        self.limit(limits)

    def limit(self, limits: GroupLimits) -> None:
        if read_count(self._folder / "memory.current") > limits.memory_bytes_max:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))  # the kernel would kill
        self._write("memory.max", limits.memory_bytes_max)
        self._write("pids.max", limits.pids_max + INIT_PROCESSES)
        quota = max(1000, round(limits.cpus * CPU_PERIOD_US))
        write_if_there(self._folder / "cpu.max.burst", 0)  # never above the quota
        self._write("cpu.max", f"{quota} {CPU_PERIOD_US}")
        # what it did not use while it waited may help it start
        write_if_there(self._folder / "cpu.max.burst", quota)

    def join(self, pid: int) -> None:
        self._write("cgroup.procs", pid)

    def doors(self) -> list[int]:
        return open_doors([self._folder])

    def lift_cpu_quota(self) -> None:
        with suppress(OSError):
            write_if_there(self._folder / "cpu.max.burst", 0)
            self._write("cpu.max", f"max {CPU_PERIOD_US}")

    def usage(self) -> GroupUsage:
        return GroupUsage(
            cpu_s=read_counts(self._folder / "cpu.stat").get("usage_usec", 0) / 1e6,
            memory_bytes_peak=read_count(self._folder / "memory.peak"),  # Linux 5.19
            oom_kills=read_counts(self._folder / "memory.events").get("oom_kill", 0),
            pids_refused=read_counts(self._folder / "pids.events").get("max", 0),
        )

    def remove(self) -> None:
        remove_folder(self._folder)

    def _write(self, name: str, value: object) -> None:
        (self._folder / name).write_text(str(value))
