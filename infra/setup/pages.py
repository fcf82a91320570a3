"""Fetches what the documentation pages show themselves with, once: `python -m infra.setup.pages`.

npm is the client, wherever it is set up to look. Without it, or without a network, everything else works
and the pages say what is missing, so set-up never fails over this.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from infra.built_folder import built_folder
from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.pages import PAGE_PACKAGES, NpmPackage

_WITHIN_S = 60
_ONE_TRY = ["--fetch-retries=0", "--fetch-timeout=20000", "--silent", "--ignore-scripts"]


def fetch_pages(caches: Path) -> None:
    """Put the files of every package below `caches`. Raises `Misconfigured` where they cannot be had."""
    for package in PAGE_PACKAGES:
        fetch(package, caches)


def fetch(package: NpmPackage, caches: Path) -> None:
    """Put the files of `package` into its folder below `caches`, once. Raises `Misconfigured`."""
    folder = package.folder(caches)
    if folder.is_dir():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise Misconfigured("npm is not installed")
    with tempfile.TemporaryDirectory() as scratch, built_folder(folder) as unfinished:
        archive = _pack(npm, package, Path(scratch))
        with tarfile.open(archive) as content:
            for name, path in package.files.items():
                member = content.extractfile(f"package/{path}")
                assert member is not None, f"{path} is a file of the version that is pinned"
                (unfinished / name).write_bytes(member.read())


def _pack(npm: str, package: NpmPackage, scratch: Path) -> Path:
    """Download the archive and hold it against what is pinned."""
    wanted = f"{package.name}@{package.version}"
    try:
        subprocess.run(
            [npm, "pack", *_ONE_TRY, wanted],
            cwd=scratch,
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_WITHIN_S,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise Misconfigured(f"npm could not fetch {wanted}") from error
    (archive,) = scratch.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if package.integrity != f"sha512-{digest}":
        raise Misconfigured(f"{wanted} is not what it was when it was pinned")
    return archive


def main() -> int:
    """Fetch what is missing; say so if it cannot be had."""
    try:
        fetch_pages(cache_folder(os.environ))
    except Misconfigured as error:
        sys.stderr.write(f"The documentation pages stay plain: {error}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
