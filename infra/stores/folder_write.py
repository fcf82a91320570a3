"""One object on its way into a folder. Everything that may block runs in threads."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
_ATTEMPTS = 100


class FolderWrite:
    """Open, append, then either `finish` or `abandon`.

    A thread cannot be cancelled. So the one that still works on the file when its task is cancelled
    is waited for before the file is closed: its number might otherwise mean another file already.
    """

    def __init__(self, aside: Path, final: Path) -> None:
        self._aside = aside
        self._final = final
        self._file: FileIO | None = None
        self._working: asyncio.Task[object] | None = None
        self._size = 0

    async def open(self) -> None:
        """Create the file aside."""
        await self._in_thread(self._open)

    async def append(self, chunk: bytes) -> None:
        """Write all of `chunk`."""
        await self._in_thread(lambda: self._append(chunk))

    async def finish(self) -> int:
        """Bring the bytes to disk and the file into place; returns its size in bytes."""
        await self._in_thread(self._finish)
        return self._size

    async def abandon(self) -> None:
        """Leave nothing behind. Never raises."""
        if self._working is not None:
            await asyncio.gather(self._working, return_exceptions=True)
        await asyncio.to_thread(self._remove)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        task = asyncio.create_task(asyncio.to_thread(work))
        self._working = task
        return await asyncio.shield(task)

    def _open(self) -> None:
        root = self._aside.parent.parent
        root.mkdir(mode=0o700, parents=True, exist_ok=True)  # closed to others, and so is all below it
        self._aside.parent.mkdir(exist_ok=True)
        number = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = FileIO(number, "wb")

    def _append(self, chunk: bytes) -> None:
        assert self._file is not None, "opened before"
        rest = memoryview(chunk)
        while rest:  # an unbuffered file may take less than all
            rest = rest[self._file.write(rest) :]
        self._size += len(chunk)

    def _finish(self) -> None:
        assert self._file is not None, "opened before"
        os.fsync(self._file.fileno())
        self._file.close()
        for _ in range(_ATTEMPTS if self._aside.exists() else 0):
            # Whoever deletes the last object of a folder removes the folder, maybe just now; if that is
            # between the two looks that `mkdir` takes, it says that the folder exists.
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                self._final.parent.mkdir(parents=True, exist_ok=True)
                self._aside.replace(self._final)
                return
        raise OSError(None, "what was being written has been removed")

    def _remove(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        with contextlib.suppress(OSError):
            self._aside.unlink()
