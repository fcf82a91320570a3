"""Files on their way into and out of an execution. Paths are relative to its working directory."""

import base64
import binascii
import re
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from schemas.ids import FileId, SessionId

FILE_PATH_LEVELS_MAX = 10
_CONTROL = re.compile(r"[\\\x00-\x1f\x7f]")


class InputFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file to put in before the run: either its `content`, or a reference to a stored file."""

    name: str
    content: str | None = None
    encoding: Literal["base64"] | None = None
    session_id: SessionId | None = None
    file_id: FileId | None = None

    @property
    def is_inline(self) -> bool:
        """Whether the bytes travel in the message itself."""
        return self.content is not None

    def inline_bytes(self) -> bytes:
        """Return the bytes of an inline file.

        Raises:
            ValueError: `content` is declared base64 and is not.
        """
        text = self.content or ""
        if self.encoding is None:
            return text.encode()
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"not valid base64: {error}") from None


class FileOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """The stored file that another one was before a run changed it."""

    id: FileId
    session_id: SessionId


class FileRef(msgspec.Struct, frozen=True, kw_only=True):
    """A stored file, as answers and events name it."""

    id: FileId
    session_id: SessionId
    name: str
    size_bytes: int
    content_type: str
    modified_from: FileOrigin | UnsetType = UNSET


class FileNotKept(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a run left behind and that was not stored; the run is good all the same."""

    name: str
    reason: str


def is_scratch(name: str) -> bool:
    """Return whether `name` lies in a folder programs make for themselves: hidden, or Python's caches."""
    folders = name.split("/")[:-1]
    return any(folder.startswith(".") or folder == "__pycache__" for folder in folders)


def file_name_fault(name: str, length_max: int) -> str | None:
    """Return why `name` may not be a path below the working directory, or None if it may.

    `length_max` counts characters.
    """
    levels = name.split("/")
    faults = {
        "must not be empty": not name,
        f"is {len(name)} characters long, the limit is {length_max}": len(name) > length_max,
        "must be relative, without a leading slash": name.startswith("/"),
        "must not contain a backslash or control characters": _CONTROL.search(name) is not None,
        f"has {len(levels)} levels, the limit is {FILE_PATH_LEVELS_MAX}": len(levels) > FILE_PATH_LEVELS_MAX,
        "must not contain empty, '.' or '..' segments": any(level in ("", ".", "..") for level in levels),
        "has a segment of more than 255 bytes": any(_bytes(level) > 255 for level in levels),
    }
    return next((fault for fault, found in faults.items() if found), None)


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
