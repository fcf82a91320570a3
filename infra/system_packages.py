"""Debian packages that this machine lacks: which they are, and installing them when we may.

Used by set-up only, never by a service. As root it installs; as anybody else it says what to type.
While packages are configured no server is started: a laptop that wanted compilers should not find a
database listening afterwards. Debian asks /usr/sbin/policy-rc.d about every service start
(invoke-rc.d(8)); ours forbids all and the machine's own, if any, is put back afterwards.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.errors import Misconfigured

POLICY = Path("/usr/sbin/policy-rc.d")
_FORBID_ALL = "#!/bin/sh\n# Millrace installs packages and starts no services.\nexit 101\n"


def not_installed(packages: Sequence[str]) -> list[str]:
    """Return those of `packages` that dpkg does not have; all of them where there is no dpkg."""
    if not packages or shutil.which("dpkg-query") is None:
        return list(packages)
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *packages]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    present = {line.split()[0] for line in answer.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in present]


def install_command(packages: Sequence[str]) -> str:
    """Return what to type to get `packages`, empty for none."""
    if not packages:
        return ""
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        return f"install with this system's package manager what Debian calls: {names}"
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install --no-install-recommends -y {names}"


def install(packages: Sequence[str], *, policy: Path = POLICY) -> None:
    """Install those of `packages` that are missing. Raises `Misconfigured` where that cannot be done."""
    missing = not_installed(packages)
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Misconfigured(f"missing system packages; {install_command(missing)}")
    with services_kept_from_starting(policy):
        if not _apt_get("install", "--no-install-recommends", *missing):
            # An image often comes without package lists, or with old ones.
            _apt_get("update")
            if not _apt_get("install", "--no-install-recommends", *missing):
                raise Misconfigured(f"apt-get failed; try by hand: {install_command(missing)}")


def _apt_get(*words: str) -> bool:
    command = ["apt-get", "-y", "-qq", "-o", "DPkg::Lock::Timeout=300", *words]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.stderr.write(result.stderr)
    return result.returncode == 0


@contextmanager
def services_kept_from_starting(policy: Path = POLICY) -> Iterator[None]:
    """Forbid service starts, then put back what `policy` was, also after a run that was killed."""
    kept = policy.with_name(policy.name + ".kept-by-millrace")
    # A killed run leaves our own file; keeping that one would forbid service starts for ever.
    if policy.exists() and not kept.exists() and policy.read_bytes() != _FORBID_ALL.encode():
        policy.rename(kept)
    policy.write_text(_FORBID_ALL)
    policy.chmod(0o755)
    try:
        yield
    finally:
        if kept.exists():
            kept.replace(policy)
        else:
            policy.unlink(missing_ok=True)
