"""What runs in a pod, as the machine that is the node sees it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def processes_of_pod(uid: str, program: str) -> list[int]:
    """Return the process ids of a program, by its place in its image, in the pod with this uid."""
    return [pid for pid in _in_pod(uid) if _words(pid)[:1] == [program]]


def _in_pod(uid: str) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if uid in (folder / "cgroup").read_text():
                yield int(folder.name)


def _words(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return []
