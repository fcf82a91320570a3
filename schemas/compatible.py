"""The words of the compatible contract: what chat front ends send to `/exec` and read from its answer.

Four generations of clients are served at once; nothing in a request names its generation, so every
field that differs between them is optional here and unknown ones are ignored.
"""

from typing import Any

import msgspec


class CompatibleFile(msgspec.Struct, frozen=True, kw_only=True):
    """A reference to a stored file, in the older shape (`session_id`) or the newer (`storage_session_id`)."""

    id: str
    name: str
    session_id: str | None = None
    storage_session_id: str | None = None


class CompatibleRun(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /exec`. `timeout` is in milliseconds; `args` may also come as one string."""

    lang: str
    code: str
    args: list[str] | str | None = None
    files: list[CompatibleFile] | None = None
    timeout: float | None = None


class BodyKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Where older clients put the API key: in the body. Read to authenticate, then dropped."""

    long_name: Any = msgspec.field(default=None, name="LIBRECHAT_CODE_API_KEY")
    camel_case: Any = msgspec.field(default=None, name="apiKey")
    snake_case: Any = msgspec.field(default=None, name="api_key")

    def __repr__(self) -> str:
        return "BodyKeys(***)"


class CompatibleFileRef(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a run produced. Both session fields are equal: each generation reads its own."""

    id: str
    name: str
    session_id: str
    storage_session_id: str


class CompatibleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to every run that started, whatever became of it. Clients read stdout and stderr only."""

    session_id: str
    stdout: str
    stderr: str
    files: list[CompatibleFileRef]
    code: int | None
    signal: str | None
    message: str | None
    status: str | None
    wall_time: float | None
    """Milliseconds."""
    deleted_files: list[str] | msgspec.UnsetType = msgspec.UNSET
