"""Control groups: limits and accounts for all processes of one execution together.

Two kernels' worth of interface (Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst) behind one
protocol; `cgroups_v1.py` and `cgroups_v2.py` know the file names. Groups are named for the process that
owns them, so that a successor can tell a dead owner's from a living neighbour's.
"""

import functools
import itertools
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CPU_PERIOD_US = 100_000
_FILE_BYTES_MAX = 4096
LEFT_BYTES_MAX = 4 * 1024 * 1024
"""What may still be charged to a group without processes: structures that the kernel frees later."""
INIT_PROCESSES = 1
"""Process 1 of the sandbox is ours and counts."""

_NAME = re.compile(r"millrace-(\d+)-(\d+)-(\d+)-\d+")
_counter = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimits:
    """What one execution's processes may use together."""

    memory_bytes_max: int
    """Files in memory included; there is no swap beside it."""
    pids_max: int
    cpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUsage:
    """What they used."""

    cpu_s: float
    memory_bytes_peak: int
    oom_kills: int
    """Processes killed for memory."""
    pids_refused: int
    """Processes that could not be started for the limit."""


class Group(Protocol):
    """One execution's control group."""

    def join(self, pid: int) -> None:
        """Move a process in; what it starts from now on is in too. Raises OSError."""

    @property
    def limits(self) -> GroupLimits:
        """Those that were set last."""

    def doors(self) -> list[int]:
        """Return descriptors that close with the group; a thread that writes `0` to each is in.

        A process should have no other thread then. Raises OSError.
        """

    def limit(self, limits: GroupLimits) -> None:
        """Set other limits. Raises OSError, also where more memory is in use than it may have."""

    def lift_cpu_quota(self) -> None:
        """Let it run freely: a throttled process dies slowly."""

    def usage(self) -> GroupUsage:
        """Say what was used so far."""

    def cpu_s(self) -> float:
        """Say how many CPU seconds were used so far."""

    def renew(self) -> bool:
        """Make it as good as new for another execution, once all is over that was in it; say whether it is.

        Only its CPU time counts on. If it is not, something was left or happened that an account would
        show, or the kernel is too old, and it must be removed.
        """

    def remove(self) -> None:
        """Remove it; whatever is still in it is killed first."""


class Hierarchy(Protocol):
    """The place below which we may make groups."""

    def make(self, name: str, limits: GroupLimits) -> Group:
        """Make a group with its limits. Raises OSError."""

    def leftovers(self) -> Iterable[Path]:
        """Return the folders that look like groups of ours, whoever made them."""


def new_name() -> str:
    """Return a name for a group of this process."""
    return f"{_owner(os.getpid())}-{next(_counter)}"


@functools.cache
def _owner(pid: int) -> str:
    return f"millrace-{_pid_namespace()}-{pid}-{start_time(pid)}"


def sweep(hierarchy: Hierarchy) -> int:
    """Remove the groups of owners that are dead; return how many.

    Only of owners in our own pid namespace: whether others live cannot be seen. And only what is ours to
    remove: what another user's service left is for that one's successor, and must not keep us from starting.
    """
    swept = 0
    for folder in hierarchy.leftovers():
        owner = owner_of(folder.name)
        if owner and start_time(owner[0]) != owner[1] and _is_ours_to_remove(folder):
            remove_folder(folder)
            swept += 1
    return swept


def _is_ours_to_remove(folder: Path) -> bool:
    try:
        return os.geteuid() in (0, folder.stat().st_uid)
    except FileNotFoundError:
        return False  # somebody did it already


def owner_of(name: str) -> tuple[int, int] | None:
    """Return who made a group of this name: its number, and when it started; None if that cannot be seen."""
    match = _NAME.fullmatch(name)
    if not match or int(match[1]) != _pid_namespace():
        return None
    return int(match[2]), int(match[3])


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; -1 if there is none (proc(5), stat)."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return -1


def remove_folder(folder: Path) -> None:
    """Remove a group, killing what is in it; it stays busy for a moment after the last death."""
    for _ in range(200):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            _kill_members(folder)
            time.sleep(0.005)
        else:
            return


def _kill_members(folder: Path) -> None:
    with suppress(FileNotFoundError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), 9)


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process stands in one hierarchy."""

    top: Path
    """As far up as we can see."""
    own: Path
    """Our own group's folder."""


def own_places() -> Mapping[str, Place]:
    """Return our place for each controller of version 1, and for `""` that of version 2.

    A container may see its hierarchy from its own group downwards: the mount's root says from where.
    """
    mine = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mine.update(dict.fromkeys(controllers.split(","), path))
    places: dict[str, Place] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, mount_point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        names = {"cgroup2": [""], "cgroup": options.split(",")}.get(kind, [])
        for name in names:
            if name in mine and name not in places:
                top = Path(mount_point)
                places[name] = Place(top, top / mine[name].removeprefix(root).lstrip("/"))
    return places


def read_count(path: Path) -> int:
    """Read a file of one number; 0 if it does not exist."""
    try:
        return int(_read(path))
    except FileNotFoundError:
        return 0


def write(path: Path, value: object) -> None:
    """Write a setting, in as few system calls as it takes: a group needs a dozen. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def write_if_there(path: Path, value: object) -> None:
    """Write a setting that not every kernel has."""
    with suppress(FileNotFoundError):
        write(path, value)


def _read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _FILE_BYTES_MAX).decode()
    finally:
        os.close(fd)
