"""What the sidecar's image holds: agent, sidecar, and the guest's files that every pod gets from it.

Built once for each state of the sources and kept in the cache folder, for tests and for trying; the image
itself compiles its own and takes only the guest's files from here: `python -m sandboxes.pod_programs FOLDER`.
"""

import os
import shutil
import sys
from pathlib import Path

from infra.built_folder import built_once
from infra.cache_folder import cache_folder
from infra.setup import go
from sandboxes.guest_zip import guest_zip

SOURCES = Path(__file__).parent
_PROGRAMS = ("agent", "sidecar")
_WAITERS = ("waiter.js", "waiter.php", "waiter.R")


def pod_programs() -> Path:
    """Return a folder laid out as the image's root: /agent, /sidecar, /guest. Raises `Misconfigured`."""
    return built_once(cache_folder(os.environ) / f"pod-programs-{go.fingerprint(SOURCES)}", _build)


def _build(folder: Path) -> None:
    compiler = go.get_go()
    for name in _PROGRAMS:
        go.build(compiler, SOURCES, f"./{name}", folder / name, "-ldflags=-s -w")


def put_guest_files(folder: Path) -> None:
    """Write guest.zip and what makes runtimes wait into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "guest.zip").write_bytes(guest_zip())
    for waiter in _WAITERS:
        shutil.copyfile(SOURCES / "guest" / waiter, folder / waiter)


if __name__ == "__main__":
    put_guest_files(Path(sys.argv[1]))
