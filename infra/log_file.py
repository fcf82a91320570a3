"""A rotating log file that several processes may share, as edge and handlers of one `serve` do.

The standard library's handler rotates under the feet of other processes, which then write on into the
rotated file. Here every line is written under a lock on a file beside the log, after looking whether the
path still means the file that is open.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path


class SharedRotatingFile(RotatingFileHandler):
    """Writes to `path` and rotates it at `bytes_max`, keeping `backups` older files."""

    def __init__(self, path: Path, *, bytes_max: int, backups: int) -> None:
        super().__init__(path, maxBytes=bytes_max, backupCount=backups, encoding="utf-8", delay=True)
        self._lock_path = f"{self.baseFilename}.lock"

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line. A disk that is full or gone costs the line, never the caller."""
        try:
            with self._locked():
                self._follow_rotation()
                super().emit(record)
        except OSError:
            self.handleError(record)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _follow_rotation(self) -> None:
        if self.stream is not None and not self._is_current(self.stream.fileno()):
            self.stream.close()
            self.stream = None  # the base class opens it again on demand

    def _is_current(self, open_file: int) -> bool:
        try:
            named = os.stat(self.baseFilename)  # noqa: PTH116 - the base class keeps a str
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(open_file))
