"""Without control groups: what all processes of a sandbox and their files hold, looked at by process 1.

Part of `local/init.py`, which is compiled with this text before it, and of the guest package, for the
process 1 of warm children. So it keeps to what Python 3.9 has, and imports only what `init.py` does.
"""

# ruff: noqa: PTH115, PTH116, PTH208, SIM105

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Callable, Sequence  # noqa: UP035  3.9
else:
    import _signal as signal

LOOK_MS = 20
"""Between two looks."""
LOOKS_PER_SEARCH = 10


class MemoryWatch:
    """What all processes and files hold together, looked at now and then. `places`: the tmpfs they have.

    `on_over` is called before anything is killed, so that whoever sees the deaths can know why.
    """

    def __init__(
        self,
        places: "Callable[[], Sequence[os.statvfs_result]]",
        on_over: "Callable[[], None]" = lambda: None,
    ) -> None:
        self.bytes_max = 0
        self.peak = 0
        self.is_over = False
        self._places = places
        self._on_over = on_over
        self._looks = 0
        self._unnamed = 0

    def look(self) -> None:
        """Kill everything once too much is held."""
        self._looks += 1
        if self._looks % LOOKS_PER_SEARCH == 0:
            self._unnamed = bytes_in_memfds()
        files = sum(bytes_in(place) for place in self._places()) + self._unnamed
        held = held_bytes(files, exactly=False)
        if held > self.bytes_max:
            held = held_bytes(files, exactly=True)
        self.peak = max(self.peak, held)
        if held > self.bytes_max:
            self.is_over = True
            self._on_over()
            kill_all()


def held_bytes(files: int, exactly: bool) -> int:
    """Return what all processes hold beside pages of files on disk.

    Shared pages are mostly those of files in memory, which are counted already. Those shared by a fork
    count once for each process, unless it is to be told exactly.
    """
    anonymous = mapped = 0
    for pid in processes():
        try:
            own, shared = (exact_pages if exactly else resident_pages)(pid)
        except PermissionError:  # it hides from those without privilege; its size it cannot hide
            own, shared = resident_pages(pid)
        except OSError:
            continue  # it is gone
        anonymous += own
        mapped += shared
    return anonymous + max(mapped, files)


def resident_pages(pid: str) -> "tuple[int, int]":
    """Return the bytes of memory and of files in memory that a process has mapped. Raises OSError."""
    try:
        return added_up(pid, "status", "RssAnon:", "RssShmem:")
    except FileNotFoundError:
        return 0, 0


def exact_pages(pid: str) -> "tuple[int, int]":
    """Return the same, each page that others have too divided among them. Raises OSError."""
    return added_up(pid, "smaps_rollup", "Pss_Anon:", "Pss_Shmem:")


def added_up(pid: str, source: str, private: str, shared: str) -> "tuple[int, int]":
    """Add up two kinds of lines of a file in /proc. Raises OSError."""
    own = others = 0
    with open(f"/proc/{pid}/{source}") as file:
        for line in file:
            if line.startswith(private):
                own += int(line.split()[1]) * 1024
            elif line.startswith(shared):
                others += int(line.split()[1]) * 1024
    return own, others


def bytes_in_memfds() -> int:
    """Return what files without a name hold in memory."""
    sizes = {}
    for pid in processes():
        folder = f"/proc/{pid}/fd/"
        try:
            for fd in os.listdir(folder):
                if os.readlink(folder + fd).startswith("/memfd:"):
                    held = os.stat(folder + fd)
                    sizes[held.st_ino] = held.st_blocks * 512
        except OSError:
            continue  # it is gone, or closed that
    return sum(sizes.values())


def bytes_in(held: os.statvfs_result) -> int:
    """Return what a tmpfs holds, counting a kilobyte for each inode."""
    return (held.f_blocks - held.f_bfree) * held.f_frsize + (held.f_files - held.f_ffree) * 1024


def processes() -> list[str]:
    """Return the ids of all processes but ours."""
    return [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def kill_all() -> None:
    """Kill every process of this pid namespace but ourselves."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass
