"""The repository as it is committed: what the house rules are held against."""

import functools
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("commands", "edge", "handlers", "streams", "sandboxes", "infra", "schemas")


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """Return every committed file that exists, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    names = [name for name in listed.decode().split("\0") if name]
    return tuple(Path(name) for name in names if (ROOT / name).is_file())


@functools.cache
def text_of(path: Path) -> str:
    """Return a committed file's text; empty for one that is no text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def pages() -> list[Path]:
    """Return every page for people."""
    return [path for path in tracked_files() if path.suffix == ".md"]


def our_modules() -> list[Path]:
    """Return every module of the product: the rooms, the commands and the command line."""
    return [
        path
        for path in tracked_files()
        if path.suffix == ".py" and (path.parts[0] in ROOMS or len(path.parts) == 1)
    ]


def make_targets() -> dict[str, str]:
    """Return the targets that `make help` shows, with what it says of them."""
    return dict(re.findall(r"^([a-z0-9-]+):.*?## (.+)$", text_of(Path("Makefile")), re.MULTILINE))
