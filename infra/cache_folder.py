"""Where set-up keeps what is costly to make and can be made again: compiler caches, guest environments."""

import os
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environ: Mapping[str, str], uid: int | None = None) -> Path:
    """Return the folder: `MILLRACE_CACHE`, else /var/cache/millrace for root, else by the XDG rules.

    Root's home is closed to the unprivileged uid that sandboxes run as; /var/cache is not.
    """
    if environ.get("MILLRACE_CACHE"):
        return Path(environ["MILLRACE_CACHE"]).absolute()
    if (os.geteuid() if uid is None else uid) == 0:
        return Path("/var/cache/millrace")
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "millrace")
