"""Objects in a local folder, shared by all processes that see it.

    <root>/<key>                        whole objects
    <root>/.unfinished/<key>.<nonce>    what is being written, the slashes of the key as dots

What is being written is renamed into place when it is whole and on disk, so that neither a crash nor a
power cut leaves anything under a key that could be taken for the object.
"""

import asyncio
import contextlib
import errno
import secrets
import stat
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

from infra.errors import Unavailable
from infra.stores.folder_write import FolderWrite
from infra.stores.objects import CHUNK_BYTES, ObjectMissing, StoredObject, UnfinishedWrite, checked_key

_UNFINISHED = ".unfinished"
_FULL = {errno.ENOSPC, errno.EDQUOT}


class FolderObjects:
    """An `ObjectStore` on this machine's disk. Nobody but this user may read it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, content: AsyncIterator[bytes]) -> int:
        """Write beside the objects, then rename."""
        aside = self._root / _UNFINISHED / f"{checked_key(key).replace('/', '.')}.{secrets.token_hex(4)}"
        write = FolderWrite(aside, self._root / key)
        try:
            with _told():
                await write.open()
            async for chunk in content:
                with _told():
                    await write.append(chunk)
            with _told():
                return await write.finish()
        except BaseException:
            # In a task of its own: ours may be cancelled again at every await.
            await asyncio.shield(asyncio.create_task(write.abandon()))
            raise

    async def get(self, key: str, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes]:
        """Read chunks of at most `CHUNK_BYTES`."""
        path = self._root / checked_key(key)
        try:
            with _told():
                file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error
        with file:
            file.seek(start)
            left = length
            while left is None or left > 0:
                with _told():
                    chunk = await asyncio.to_thread(file.read, min(left or CHUNK_BYTES, CHUNK_BYTES))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    async def delete(self, key: str) -> None:
        """Remove the object, and folders that are empty then."""
        with _told():
            await asyncio.to_thread(_remove, self._root / checked_key(key), self._root)

    async def listing(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Read one folder at a time, in the order of the names."""
        folders = [self._root / prefix]
        while folders:
            with _told():
                found, below = await asyncio.to_thread(_look, folders.pop())
            folders += reversed(below)
            for path, size_bytes, modified_at in found:
                yield StoredObject(path.relative_to(self._root).as_posix(), size_bytes, modified_at)

    async def unfinished(self, prefix: str) -> AsyncIterator[UnfinishedWrite]:
        """Yield what lies aside; it was active when it last grew."""
        with _told():
            found, _ = await asyncio.to_thread(_look, self._root / _UNFINISHED)
        for path, _, modified_at in found:
            key = path.name.rpartition(".")[0].replace(".", "/")
            if key.startswith(prefix):
                yield UnfinishedWrite(key, modified_at, path.name)

    async def discard(self, write: UnfinishedWrite) -> None:
        """Unlink it: a live writer fails when it wants to rename."""
        with _told():
            await asyncio.to_thread((self._root / _UNFINISHED / write.token).unlink, missing_ok=True)

    async def check(self) -> None:
        """Make a file without a name."""

        def touch() -> None:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root):
                pass

        with _told():
            await asyncio.to_thread(touch)

    async def aclose(self) -> None:
        """There is nothing to let go of."""


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what the file system raises into `Unavailable`; the absence of a file passes through."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "has no room left" if error.errno in _FULL else f"cannot be used: {error.strerror}"
        raise Unavailable(f"The local folder of files {reason}") from error


def _look(folder: Path) -> tuple[list[tuple[Path, int, datetime]], list[Path]]:
    """Return the files of `folder`, each with size and time, and the folders, sorted."""
    files: list[tuple[Path, int, datetime]] = []
    folders: list[Path] = []
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return files, folders
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # somebody else removed it meanwhile
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                folders.append(path)
            else:
                files.append((path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)))
    return files, folders


def _remove(path: Path, root: Path) -> None:
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root:
            return
        try:
            folder.rmdir()
        except OSError:  # it is not empty, or somebody else removed it
            return
