"""The S3 server that the tests run against: built once per machine, kept in the cache folder.

Run by itself it builds and says where: `python -m infra.setup.s3_server`. That takes minutes the first
time and wants a Go compiler; afterwards it takes nothing.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from infra.built_folder import built_folder
from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.setup.go import environment as go_environment
from infra.setup.go import get_go

_MODULE = "github.com/versity/versitygw/cmd/versitygw"
_VERSION = "v1.8.0"


def is_built() -> bool:
    """Whether `s3_server` returns at once."""
    return _binary().exists()


def s3_server() -> Path:
    """Return the server's binary, building it if need be. Raises `Misconfigured`."""
    binary = _binary()
    folder = binary.parent
    if not binary.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(folder.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits instead of building too
            if not binary.exists():
                _build(folder)
    return binary


def _binary() -> Path:
    return cache_folder(os.environ) / f"versitygw-{_VERSION}" / "versitygw"


def _build(folder: Path) -> None:
    go = get_go()
    print(f"Building {_MODULE}@{_VERSION}, once; this takes some minutes ...", file=sys.stderr)  # noqa: T201
    with built_folder(folder) as unfinished:
        result = subprocess.run(
            [go, "install", "-trimpath", "-ldflags=-s -w", f"{_MODULE}@{_VERSION}"],
            env={**go_environment(go), "GOBIN": str(unfinished)},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise Misconfigured(f"the S3 server of the tests could not be built: {result.stderr[-500:]}")


if __name__ == "__main__":
    try:
        print(s3_server())  # noqa: T201 - this is what it is for
    except Misconfigured as error:
        sys.exit(f"millrace: {error}")
