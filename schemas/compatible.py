"""The words of the compatible contract: what chat front ends send to `/exec` and read from its answer.

Four generations of clients are served at once; nothing in a request names its generation, so every
field that differs between them is optional here and unknown ones are ignored.
"""

from typing import Any, Literal

import msgspec


class CompatibleFile(msgspec.Struct, frozen=True, kw_only=True):
    """A reference to a stored file, in the older shape (`session_id`) or the newer (`storage_session_id`)."""

    id: str
    name: str
    session_id: str | None = None
    storage_session_id: str | None = None
    resource_id: str | None = None
    kind: str | None = None
    version: int | str | None = None


class CompatibleRun(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /exec`. `timeout` is in milliseconds; `args` may also come as one string."""

    lang: str
    code: str
    args: list[str] | str | None = None
    files: list[CompatibleFile] | None = None
    timeout: float | None = None
    check_types: bool = False
    """Ours, as in `RunCode`."""
    session_id: str | None = None
    """The session to go on with, of an earlier run or any other; that of somebody else is refused."""


class BodyKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Where older clients put the API key: in the body. Read to authenticate, then dropped."""

    long_name: Any = msgspec.field(default=None, name="LIBRECHAT_CODE_API_KEY")
    camel_case: Any = msgspec.field(default=None, name="apiKey")
    snake_case: Any = msgspec.field(default=None, name="api_key")

    def __repr__(self) -> str:
        return "BodyKeys(***)"


class CompatibleOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """The input that an output was before the run changed it."""

    id: str
    storage_session_id: str


class CompatibleFileRef(msgspec.Struct, frozen=True, kw_only=True):
    """A file after a run. Both session fields are equal: each generation reads its own."""

    id: str
    name: str
    session_id: str
    storage_session_id: str
    inherited: bool | msgspec.UnsetType = msgspec.UNSET
    """True for an input that is as it was, with what the request said of it."""
    modified_from: CompatibleOrigin | msgspec.UnsetType = msgspec.UNSET
    resource_id: str | msgspec.UnsetType = msgspec.UNSET
    kind: str | msgspec.UnsetType = msgspec.UNSET
    version: int | str | msgspec.UnsetType = msgspec.UNSET


class ArtifactDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """Said when outputs could not be kept; clients believe it only if the numbers add up."""

    code: Literal["artifact_delivery_failed"] = "artifact_delivery_failed"
    status: Literal["partial", "failed"]
    attempted: int
    delivered: int
    failed: int


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
    artifact_delivery: ArtifactDelivery | msgspec.UnsetType = msgspec.UNSET
