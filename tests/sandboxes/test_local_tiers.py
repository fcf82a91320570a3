"""The tiers, each made on this machine by taking away what it lacks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import Misconfigured
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.local.tiers import find_bwrap
from sandboxes.reach import is_reachable
from tests.sandboxes.bodies import WEAK_UID_FIRST, Find, require

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def python_for(uid: int) -> str:
    """Return a Python like ours that `uid` may run."""
    ours = Path(sys.executable)
    same = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")
    for candidate in (ours, Path(same or "/nonexistent")):
        if is_reachable(candidate, uid) and is_reachable(ROOT, uid):
            return str(candidate)
    require(False, f"no Python here is open to user {uid}")
    return ""


def test_an_ordinary_user_has_all_of_tier_b() -> None:
    """No root anywhere: files, limits, timeouts and builds work all the same."""
    require(os.getuid() == 0, "only root can become somebody else")
    command = [
        python_for(NOBODY),
        str(Path(__file__).with_name("ordinary_user.py")),
        "/nonexistent",
    ]
    packages = [path for path in sys.path if path.endswith("site-packages")]
    done = subprocess.run(
        command,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join([str(ROOT), *packages]), "HOME": "/"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert (told["uid"], told["tier"], told["warm"]) == (NOBODY, "B", True)
    assert told["hello"] == ["exited", 0, "given\n", {"out.txt": "made"}]
    assert told["hog"][0] == "out_of_memory"
    assert told["sleeper"][:3] == ["timed_out", None, "x\n"]
    assert told["built"][:3] == ["exited", 3, "built\n"]
    assert told["closed"] == ["exited", 0, "", {}]


async def test_without_bubblewrap_nothing_starts_and_the_cure_is_named(
    monkeypatch: pytest.MonkeyPatch, toolchains: Find
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Misconfigured, match="bubblewrap"):
        find_bwrap()
    with pytest.raises(Misconfigured, match="Tier E"):
        await LocalSandboxes(LocalConfig(), toolchains).start()


async def test_without_user_namespaces_nothing_starts_unless_weak_isolation_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toolchains: Find
) -> None:
    """A bubblewrap that fails as the kernel would let it fail."""
    refusing = tmp_path / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    refusing.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fault = r"Tier D.*No permissions to create new namespace.*MILLRACE_ALLOW_WEAK_SANDBOX=true"
    with pytest.raises(Misconfigured, match=fault):
        await LocalSandboxes(LocalConfig(), toolchains).start()
    require(os.getuid() == 0, "tier D takes root")
    weak = LocalSandboxes(LocalConfig(allow_weak=True, uid_first=WEAK_UID_FIRST), toolchains)
    await weak.start()
    assert weak.info().tier == "D"
    assert "Weak isolation" in weak.info().notes[0]
    await weak.close()


async def test_weak_isolation_takes_root(toolchains: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user could only give guests its own user id, and with it its own files."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sandboxes.local.sandboxes.find_bwrap", lambda: "/bin/false")
    with pytest.raises(Misconfigured, match="takes root"):
        await LocalSandboxes(LocalConfig(allow_weak=True), toolchains).start()


def test_a_masked_proc_gives_tier_c() -> None:
    """As in a container: with part of /proc covered, the kernel refuses a new one."""
    require(os.getuid() == 0, "only root can cover parts of /proc")
    maskable = ("kcore", "keys", "timer_list", "sysrq-trigger", "interrupts")
    masked = next(path for name in maskable if (path := Path("/proc", name)).exists())
    # a /proc that somebody mounted elsewhere would give the kernel a reason to allow another
    others = 'awk \'$3 == "proc" && $2 != "/proc" { print $2 }\' /proc/mounts | xargs -r umount -l'
    cover = f'{others}; mount --bind /dev/null {masked} && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", cover, "sh"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _TELL_TIER],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == ["C", "hello\n"]


_TELL_TIER = """
import asyncio, json
from pathlib import Path
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.toolchains import find_toolchains
from tests.sandboxes.bodies import Body

async def main():
    sandboxes = LocalSandboxes(LocalConfig(), lambda uid: find_toolchains(uid, Path("/nonexistent")))
    await sandboxes.start()
    result = await Body("tier-C", sandboxes).run("print('hello')")
    print(json.dumps([sandboxes.info().tier, result.stdout.decode()]))
    await sandboxes.close()

asyncio.run(main())
"""
