"""Whether another user may read a path, told from its mode bits.

The service may be root while the process that builds a sandbox is not, and /root is closed to it.
"""

import os
import stat
from pathlib import Path

NOBODY = 65534
"""The uid nobody: stands for any user who owns nothing."""


def is_reachable(path: Path, uid: int) -> bool:
    """Say whether `uid` may walk to `path` and read it (and list it, or run it, where it applies).

    Groups and access control lists are not looked at: where only they would allow it, this says no.
    """
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
        wanted = os.R_OK | (os.X_OK if stat.S_ISDIR(mode) or mode & 0o111 else 0)
        return all(_allows(parent, uid, os.X_OK) for parent in real.parents) and _allows(real, uid, wanted)
    except OSError:
        return False


def _allows(path: Path, uid: int, wanted: int) -> bool:
    """Say whether the mode of `path` gives `uid` the `wanted` bits of R_OK and X_OK."""
    status = path.stat()
    granted = status.st_mode >> 6 if status.st_uid == uid else status.st_mode
    return uid == 0 or granted & wanted == wanted
