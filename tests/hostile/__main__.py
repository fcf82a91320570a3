"""The attacks once more as an ordinary user: `make hostile-user`, by root, who makes and removes that user.

The user gets a home, a copy of what is committed, control groups to make others in (as systemd's Delegate=yes
gives them), and follows the README from there: `make setup`, `make hostile`. Nothing of it is left, whatever
came of it: no process, file, group or user.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from infra.cache_folder import cache_folder
from sandboxes.local.cgroups import own_places, remove_folder
from sandboxes.local.cgroups_v1 import CONTROLLERS

ROOT = Path(__file__).parents[2]
PREFIX = "millrace-test-"
# the long one runs as root; in how many executions something is left shows there
ARGUMENTS = "-q -rs --deselect tests/hostile/test_ten_thousand.py"


def main() -> int:
    """Return the exit status of the tests."""
    if os.geteuid() != 0:
        sys.exit("Only root can make another user; as an ordinary one just run: make hostile")
    signal.signal(signal.SIGTERM, _end)
    _remove_leftovers()
    with ExitStack() as stack:
        user = stack.enter_context(ordinary_user())
        checkout = _copy(user)
        stack.enter_context(delegated_groups(user))
        for words in (["make", "setup"], ["make", "hostile", f"ARGS={ARGUMENTS} {' '.join(sys.argv[1:])}"]):
            if status := _call(user, checkout, words):
                return status
    return 0


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # who ends a whole group says it twice: removing goes on
    sys.exit("terminated")


@contextmanager
def ordinary_user() -> Iterator[pwd.struct_passwd]:
    """Make a user with a home of its own; in the end it and all its processes are gone."""
    name = f"{PREFIX}{os.getpid()}"
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True)
    try:
        yield pwd.getpwnam(name)
    finally:
        _remove(name)


def _remove_leftovers() -> None:
    """Remove users of runs that were killed."""
    for user in pwd.getpwall():
        number = user.pw_name.removeprefix(PREFIX)
        if number != user.pw_name and not Path("/proc", number).exists():
            _remove(user.pw_name)


def _remove(name: str) -> None:
    uid = pwd.getpwnam(name).pw_uid
    for _ in range(100):
        ours = [int(each.name) for each in Path("/proc").iterdir() if _belongs(each, uid)]
        for pid in ours:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not ours:
            break
        time.sleep(0.05)
    subprocess.run(["userdel", "--remove", name], check=True, stderr=subprocess.DEVNULL)


def _belongs(process: Path, uid: int) -> bool:
    with suppress(OSError):
        return process.name.isdigit() and process.stat().st_uid == uid
    return False


@contextmanager
def delegated_groups(user: pwd.struct_passwd) -> Iterator[None]:
    """Be in control groups of the user's own meanwhile, with all that is started."""
    entered: list[tuple[Path, Path]] = []
    try:
        for home in _homes():
            group = home / user.pw_name
            group.mkdir()
            entered.append((home, group))
            _hand_over(group, user)
            _enter(group / "millrace-service" if (group / "cgroup.subtree_control").exists() else group)
        yield
    finally:
        for home, group in entered:
            _enter(home)
            for below in (*group.glob("*/"), group):
                remove_folder(below)


def _homes() -> list[Path]:
    """Return the groups we are in, of those hierarchies that limit anything."""
    places = own_places()
    if set(CONTROLLERS) <= set(places):
        return list(dict.fromkeys(places[controller].own.resolve() for controller in CONTROLLERS))
    return [places[""].own] if "" in places else []


def _hand_over(group: Path, user: pwd.struct_passwd) -> None:
    """Let the user make groups in `group`; version 2 allows no process beside them, so it has its own."""
    control = group / "cgroup.subtree_control"
    if control.exists():
        (group.parent / "cgroup.subtree_control").write_text("+memory +pids +cpu")
        control.write_text("+memory +pids +cpu")
        (group / "millrace-service").mkdir()
    for path in (group, *group.glob("cgroup.*"), *group.glob("tasks"), *group.glob("millrace-service/")):
        with suppress(FileNotFoundError):
            os.chown(path, user.pw_uid, user.pw_gid)
    for path in group.glob("millrace-service/cgroup.procs"):
        os.chown(path, user.pw_uid, user.pw_gid)


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _copy(user: pwd.struct_passwd) -> Path:
    """Give the user what is committed here, and compilers' caches, which would take minutes to make."""
    checkout = Path(user.pw_dir, "millrace")
    checkout.mkdir()
    packed = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", checkout], check=True, input=packed.stdout)
    caches = cache_folder(os.environ)
    if caches.is_dir():
        own = cache_folder({"XDG_CACHE_HOME": f"{user.pw_dir}/.cache"}, user.pw_uid)
        own.mkdir(parents=True)
        for folder in (each for code in ("ts", "go", "java", "cpp") for each in caches.glob(f"{code}-*")):
            shutil.copytree(folder, own / folder.name, symlinks=True)
    subprocess.run(["chown", "--recursive", f"{user.pw_uid}:{user.pw_gid}", user.pw_dir], check=True)
    return checkout


def _call(user: pwd.struct_passwd, folder: Path, words: list[str]) -> int:
    kept = {name: value for name, value in os.environ.items() if name in ("CI", "LANG")}
    done = subprocess.run(
        words,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd=folder,
        env={"HOME": user.pw_dir, "USER": user.pw_name, "PATH": "/usr/local/bin:/usr/bin:/bin", **kept},
        check=False,
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
