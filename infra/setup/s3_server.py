"""The S3 server that the tests run against: built once per machine, kept in the cache folder.

Run by itself it builds and says where: `python -m infra.setup.s3_server`. That takes minutes the first
time and wants a Go compiler; afterwards it takes nothing.
"""

import os
import subprocess
import sys
from pathlib import Path

from infra.built_folder import built_once
from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.setup.go import environment as go_environment
from infra.setup.go import get_go

_MODULE = "github.com/versity/versitygw/cmd/versitygw"
_VERSION = "v1.8.0"


def is_built() -> bool:
    """Whether `s3_server` returns at once."""
    return _folder().is_dir()


def s3_server() -> Path:
    """Return the server's binary, building it if need be. Raises `Misconfigured`."""
    return built_once(_folder(), _build) / "versitygw"


def _folder() -> Path:
    return cache_folder(os.environ) / f"versitygw-{_VERSION}"


def _build(folder: Path) -> None:
    go = get_go()
    print(f"Building {_MODULE}@{_VERSION}, once; this takes some minutes ...", file=sys.stderr)  # noqa: T201
    result = subprocess.run(
        [go, "install", "-trimpath", "-ldflags=-s -w", f"{_MODULE}@{_VERSION}"],
        env={**go_environment(go), "GOBIN": str(folder)},
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
