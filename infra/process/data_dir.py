"""The folder in which `millrace serve` keeps what survives a restart: one process tree at a time owns it."""

import fcntl
import os
import time
from pathlib import Path

from infra.errors import Misconfigured

_LOCK = "serve.lock"


class DataDir:
    """A private folder, locked for as long as this object and the children forked from here live.

    The lock is the kernel's (flock), so it goes with the last process that holds it: a crash leaves
    nothing to clear away.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd = -1

    def claim(self, patience_s: float = 2.0) -> None:
        """Make the folder and take its lock.

        Children of a killed predecessor need a moment to follow it: that long is waited.
        Raises `Misconfigured` if another `serve` holds it or it cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(f"MILLRACE_DATA_DIR {self.path} cannot be used: {error.strerror}") from error
        deadline = time.monotonic() + patience_s
        while not self._try_lock():
            if time.monotonic() > deadline:
                raise Misconfigured(
                    f"another `millrace serve` ({self._owner()}) uses {self.path}; "
                    "stop it, or give this one a folder of its own with MILLRACE_DATA_DIR"
                )
            time.sleep(0.05)
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of the lock. Safe to call twice."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _owner(self) -> str:
        pid = os.pread(self._lock_fd, 32, 0).decode().strip()
        return f"process {pid}" if pid else "another process"
