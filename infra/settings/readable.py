"""Files that settings name and that must be there."""

from collections.abc import Iterator
from pathlib import Path

from infra.settings.faults import Fault


def check_file(name: str, path: Path | None, when: str) -> Iterator[Fault]:
    """Yield a fault unless `path` can be read, or is None."""
    if path is None:
        return
    try:
        with path.open("rb"):
            return
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        yield Fault(name, str(path), f"must be a readable file while {when} ({why})")
