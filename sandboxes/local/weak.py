"""Sandboxes without namespaces (tier D), for hosts that refuse them: only where the operator says so.

What stands instead of namespaces is a user id that one execution has to itself, Landlock, a stricter
system-call filter and limits of single processes. It takes root: an ordinary user has no other ids to give,
and a guest with the service's own could change the modes of its files, which Landlock does not forbid.
"""

import asyncio
import fcntl
import marshal
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import Misconfigured
from sandboxes.local.bubblewrap import DATA_FOLDER, ETC, PROGRAM_FOLDER
from sandboxes.local.control import Control, Ended, control_pair
from sandboxes.local.launch import BOOT, Guest, Inheritance, Launcher, Outer, compile_init
from sandboxes.protocol import SandboxUnavailable
from sandboxes.seccomp import filter_bytes

NOTES = (
    "Weak isolation (tier D), by MILLRACE_ALLOW_WEAK_SANDBOX: no user namespaces here, so programs see the "
    "host's processor, names and users, have no /proc, no sockets and no /dev/shm, and fill the host's disk.",
    "Programs find their files in the working directory and the program's folder, not at /mnt/data.",
)
_TOOLS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_PLACES = re.compile(r"(?<![\w./-])(/mnt/data|/program|/tmp)(?![\w.-])")
_ATTEMPTS_MAX = 100
_NOBODY = -1
"""As parent: start nothing, only clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakLauncher(Launcher):
    """Starts process 1 under a user id of its own."""

    outer: bytes
    """`weak_outer.py`, compiled by the guest's Python."""
    state: Path
    """Where the private folders are made, each named for its user."""
    uid_first: int
    uids: int

    async def launch(self, *, uid: int | None, network: bool, host_paths: Sequence[str] = ()) -> Guest:
        """See `Launcher.launch`; `uid` is where the search for a free one begins."""
        own, lock = self._claim(uid or self.uid_first)
        folder = str(self.state / str(own))
        ours, theirs = control_pair()
        try:
            with theirs, Inheritance() as inheritance:
                inheritance.keep(theirs.fileno())
                inheritance.keep(lock)
                order = {
                    "uid": own,
                    "folder": folder,
                    "parent": os.getpid(),
                    "control": theirs.fileno(),
                    "lock": lock,
                    "readable": self._readable(host_paths),
                    "filter": filter_bytes(network, shared=True),
                    "init": self.init,
                }
                process = self._start(inheritance, order)
        except OSError as error:
            ours.close()
            os.rmdir(folder)  # noqa: PTH106 - nothing to wait for
            raise SandboxUnavailable(f"No sandbox can be started now: {error.strerror}.") from error
        finally:
            os.close(lock)
        guest = await Guest.greeted(WeakOuter(process), WeakControl(ours, folder), self.start_timeout_s)
        guest.uid = own
        return guest

    def _claim(self, uid: int) -> tuple[int, int]:
        """Return a user id that no living sandbox has, of any service here, and the lock that keeps it so."""
        for turn in range(min(self.uids, _ATTEMPTS_MAX)):
            own = self.uid_first + (uid - self.uid_first + turn) % self.uids
            with suppress(FileExistsError):
                (self.state / str(own)).mkdir(mode=0o700)
                if (lock := _locked(self.state / str(own))) is not None:
                    return own, lock
        raise SandboxUnavailable("No user id is free for another sandbox.")

    def sweep(self) -> None:
        """End the programs and remove the folders of services that are gone."""
        for folder in self.state.iterdir():
            if not folder.name.isdigit() or (lock := _locked(folder)) is None:
                continue
            try:
                order = {"uid": int(folder.name), "folder": str(folder), "parent": _NOBODY, "init": self.init}
                with Inheritance() as inheritance:
                    self._start(inheritance, order).communicate(timeout=self.start_timeout_s)
            finally:
                os.close(lock)

    def _readable(self, host_paths: Sequence[str]) -> list[str]:
        etc = [f"/etc/{name}" for name in (*ETC, "ssl/openssl.cnf")]  # what is forbidden is worse than absent
        return list(dict.fromkeys([*_TOOLS, *etc, *self.host_paths, *host_paths]))

    def _start(self, inheritance: Inheritance, order: dict[str, Any]) -> subprocess.Popen[bytes]:
        boot = BOOT.format(fd=inheritance.give(self.outer))
        told = inheritance.give(marshal.dumps(order, 2))
        arguments = [self.python, "-I", "-S", "-X", "utf8", "-c", boot, str(told)]
        return inheritance.start(arguments, start_new_session=True)


def weak_launcher(strong: Launcher, uid_first: int, uids: int) -> WeakLauncher:
    """Return what starts sandboxes in tier D, with what dead services left cleared away.

    Raises `Misconfigured` where even that cannot be: without root, or without a folder of our own.
    """
    if os.geteuid() != 0:
        raise Misconfigured("Tier D takes root: an ordinary user has no user ids to give to programs.")
    weak = WeakLauncher(
        bwrap="",
        python=strong.python,
        init=strong.init,
        proc=False,
        disk_bytes_max=strong.disk_bytes_max,
        host_paths=strong.host_paths,
        start_timeout_s=strong.start_timeout_s,
        outer=compile_init(strong.python, "weak_outer.py"),
        state=_own_folder(),
        uid_first=uid_first,
        uids=uids,
    )
    weak.sweep()
    return weak


def _own_folder() -> Path:
    """Return a folder that is ours, that all may pass and nobody else may change."""
    folder = Path(tempfile.gettempdir(), "millrace-weak")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o711)
    held = folder.lstat()
    if not stat.S_ISDIR(held.st_mode) or held.st_uid != 0:
        raise Misconfigured(f"{folder} belongs to somebody else; remove it.")
    folder.chmod(0o711)
    return folder


def _locked(folder: Path) -> int | None:
    """Return a lock on a folder that stands; None if somebody lives in it."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


class WeakOuter(Outer):
    """The process around process 1; it ends once nothing is left, so it is asked and not killed."""

    def kill(self) -> None:
        """Ask it to end everything."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)


class WeakControl(Control):
    """Orders to a process 1 whose folders are not where its recipes believe."""

    def __init__(self, ours: socket.socket, folder: str) -> None:
        super().__init__(ours)
        self._places = {
            DATA_FOLDER: f"{folder}/data",
            PROGRAM_FOLDER: f"{folder}/program",
            "/tmp": f"{folder}/tmp",  # noqa: S108 - the sandbox's own
        }

    async def start(self, order: dict[str, Any], fds: Sequence[int]) -> "asyncio.Future[Ended]":
        """Have a command started, at the places that stand for those it names."""
        memory = order["memory_watch_bytes"]
        rlimits = order["rlimits"] | ({"DATA": memory} if memory else {})
        order = order | {
            "argv": [self._placed(word) for word in order["argv"]],
            "env": {name: self._placed(value) for name, value in order["env"].items()},
            "cwd": self._placed(order["cwd"]),
            "rlimits": rlimits,
            "memory_watch_bytes": 0,
        }
        return await super().start(order, fds)

    def _placed(self, text: str) -> str:
        return _PLACES.sub(lambda match: self._places[match[0]], text)
