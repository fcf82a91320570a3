"""A control group's files, kept open: its accounts are read again and again."""

import os

_FILE_BYTES_MAX = 4096


class OpenFiles:
    """Files of one group that stay open: to open one takes as long as all else that is done with it."""

    def __init__(self) -> None:
        self._fds: dict[tuple[str, int], int] = {}

    def open(self, path: str, flags: int) -> int:
        """Return a descriptor of ours. Raises OSError."""
        fd = self._fds.get((path, flags), -1)
        if fd < 0:
            fd = self._fds[path, flags] = os.open(path, flags | os.O_CLOEXEC)
        return fd

    def text(self, path: str, flags: int = os.O_RDONLY) -> str:
        """Read a file; empty if it does not exist."""
        try:
            return os.pread(self.open(path, flags), _FILE_BYTES_MAX, 0).decode()
        except FileNotFoundError:
            return ""

    def count(self, path: str, name: str = "", flags: int = os.O_RDONLY) -> int:
        """Read the number that a file holds, or that stands behind `name` in it; 0 if there is none."""
        text = self.text(path, flags)
        if name:
            text = next((line for line in text.splitlines() if line.startswith(f"{name} ")), "")
        return int(text.split()[-1]) if text else 0

    def write(self, path: str, value: object, flags: int = os.O_WRONLY) -> None:
        """Write a setting. Raises OSError."""
        os.pwrite(self.open(path, flags), str(value).encode(), 0)

    def close(self) -> None:
        """Close all of them."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
