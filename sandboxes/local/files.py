"""Files on their way into and out of a sandbox's folder, which a hostile program may have furnished.

Everything is opened below the folder's descriptor with openat2, following no symbolic or magic link and
crossing no mount. Files go in before the program starts and are collected after its last process is
gone, so nothing moves meanwhile; the rules hold even if it did.
"""

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from sandboxes.changes import Found, Mark
from sandboxes.local.kernel import files_made_as, open_beneath
from schemas.files import file_name_fault

_ENTRIES_MAX = 10_000
"""How many directory entries are looked at; a guest can make more than anybody wants to see."""
_FILE_NAME_LENGTH_MAX = 4096
_CHUNK_BYTES = 256 * 1024
_BACKDATED_NS = 60 * 10**9


async def put_file(folder: int, name: str, content: AsyncIterator[bytes], uid: int) -> None:
    """Write one file below `folder`, making its parents; what was there is replaced. Raises OSError."""
    fd = _create(folder, name, uid)
    try:
        async for chunk in content:
            _write_all(fd, chunk)
        _backdate(fd)
    finally:
        os.close(fd)


def put_bytes(folder: int, name: str, content: bytes, uid: int) -> None:
    """Write one file of known content. Raises OSError."""
    fd = _create(folder, name, uid)
    try:
        _write_all(fd, content)
    finally:
        os.close(fd)


async def read_file(folder: int, name: str, bytes_max: int) -> AsyncGenerator[bytes, None]:
    """Read a regular file below `folder`, at most `bytes_max` of it. Raises OSError."""
    fd = open_beneath(folder, name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(name)
        left = bytes_max
        while left > 0 and (chunk := os.read(fd, min(left, _CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
    finally:
        os.close(fd)


def is_empty(folder: int) -> bool:
    """Return whether there is nothing at all in `folder`; what cannot be listed is not empty."""
    try:
        fd = open_beneath(folder, ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    with _closing(fd), os.scandir(fd) as scan:
        return next(scan, None) is None


def find_files(folder: int) -> list[Found]:
    """List everything below `folder` that is no directory, sorted by name."""
    found: list[Found] = []
    waiting = ["."]
    entries = 0
    while waiting:
        inner = waiting.pop()
        prefix = "" if inner == "." else inner + "/"
        try:
            fd = open_beneath(folder, inner, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            found.append(Found(inner, None, f"cannot be opened: {error.strerror}"))
            continue
        with _closing(fd), os.scandir(fd) as scan:
            for entry in scan:
                entries += 1
                if entries > _ENTRIES_MAX:
                    found.append(Found("...", None, f"more than {_ENTRIES_MAX} entries"))
                    return sorted(found, key=_by_name)
                found += _look_at(entry, prefix, waiting)
    return sorted(found, key=_by_name)


def _look_at(entry: os.DirEntry[str], prefix: str, waiting: list[str]) -> Iterator[Found]:
    name = prefix + entry.name
    shown = name.encode(errors="surrogateescape").decode(errors="replace")
    if shown != name:
        yield Found(shown, None, "its name is no UTF-8")
    elif fault := file_name_fault(name, _FILE_NAME_LENGTH_MAX):
        yield Found(name, None, f"its name {fault}")
    elif entry.is_dir(follow_symlinks=False):
        waiting.append(name)
    elif entry.is_file(follow_symlinks=False):
        held = entry.stat(follow_symlinks=False)
        if held.st_mode & stat.S_IRUSR:
            yield Found(name, Mark(held.st_ino, held.st_size, held.st_mtime_ns, held.st_ctime_ns))
        else:
            yield Found(name, None, "its permissions forbid reading")
    else:
        yield Found(name, None, "no regular file")


def _by_name(found: Found) -> str:
    return found.name


@contextmanager
def _closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


def _create(folder: int, name: str, uid: int) -> int:
    *parents, last = name.split("/")
    fd = os.dup(folder)
    with files_made_as(uid):
        try:
            for parent in parents:
                inner = _enter(fd, parent)
                os.close(fd)
                fd = inner
            return open_beneath(fd, last, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
        finally:
            os.close(fd)


def _enter(fd: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=fd)
    return open_beneath(fd, name, os.O_RDONLY | os.O_DIRECTORY)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _backdate(fd: int) -> None:
    """Make the next write show, even one of the same size within the clock's granularity."""
    before = os.fstat(fd).st_mtime_ns - _BACKDATED_NS
    os.utime(fd, ns=(before, before))
