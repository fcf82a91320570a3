"""A folder that is costly to make: it exists complete, readable by every user, or not at all."""

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def built_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final` to fill; it becomes `final` when the block ends well.

    Two may build at once: the first one done wins, and the other's work is dropped.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    _open_to_all(final.parent)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=".unfinished-") as scratch:
        unfinished = Path(scratch, final.name)
        unfinished.mkdir()
        yield unfinished
        for path in (unfinished, *unfinished.rglob("*")):
            _open_to_all(path)
        with suppress(OSError):  # the folder exists and is not empty
            unfinished.rename(final)


def built_once(final: Path, fill: Callable[[Path], None]) -> Path:
    """Return `final`, filled by `fill` if it was not there; who comes second waits and does not build."""
    if not final.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True)
        with _turn(final.with_name(f".{final.name}.lock")):  # by its name nobody takes it for a build
            if not final.is_dir():
                with built_folder(final) as unfinished:
                    fill(unfinished)
    return final


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Hold a lock that is gone afterwards; whoever waited for it still has its turn.

    Who comes after a failure may build beside one who waited: then the first one done wins.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _open_to_all(path: Path) -> None:
    """Let every uid read it, whatever the umask was. A link is left alone: its target is not ours."""
    if not path.is_symlink():
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
