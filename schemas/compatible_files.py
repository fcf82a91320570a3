"""The words of the compatible contract about stored files: what its file routes answer.

Older clients read `session_id`, newer ones `storage_session_id`; both are always there and equal.
"""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class UploadedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was taken, under the name it was sent with."""

    file_id: str = msgspec.field(name="fileId")
    filename: str


class UploadAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `POST /upload`. Clients go by the word `success`."""

    message: Literal["success"] = "success"
    session_id: str
    storage_session_id: str
    files: list[UploadedFile]


class BatchFile(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file of a batch; clients find it by `filename`, which is as they sent it."""

    status: Literal["success", "error"]
    filename: str
    file_id: str | UnsetType = msgspec.field(name="fileId", default=UNSET)
    error: str | UnsetType = UNSET


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `POST /upload/batch`."""

    message: Literal["success", "partial_success", "error"]
    session_id: str
    storage_session_id: str
    files: list[BatchFile]
    succeeded: int
    failed: int
    error: str | UnsetType = UNSET
    """A code, when no file at all was taken."""


class SimpleFile(msgspec.Struct, frozen=True, kw_only=True):
    """`?detail=simple`: what it takes to refer to a file."""

    id: str
    name: str
    session_id: str
    storage_session_id: str


class SummaryFile(msgspec.Struct, frozen=True, kw_only=True):
    """`?detail=summary`. `name` is `<session>/<file id>[.ext]`: clients cut the id out of it."""

    name: str
    last_modified: datetime = msgspec.field(name="lastModified")
    size: int
    etag: str


class FileMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Where the older clients look for the name a file is mounted under."""

    original_filename: str = msgspec.field(name="original-filename")
    content_type: str = msgspec.field(name="content-type")


class FullFile(SummaryFile, frozen=True, kw_only=True):
    """`?detail=full`."""

    id: str
    session_id: str
    storage_session_id: str
    content_type: str = msgspec.field(name="contentType")
    metadata: FileMetadata
    resource_id: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    version: int | UnsetType = UNSET


class NormalizedFile(msgspec.Struct, frozen=True, kw_only=True):
    """`?detail=normalized`."""

    id: str
    name: str
    storage_session_id: str
    size: int
    content_type: str = msgspec.field(name="contentType")
    last_modified: datetime = msgspec.field(name="lastModified")


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `GET /sessions/{session}/objects/{file}`: by it newer clients see that a file lives."""

    id: str
    session_id: str
    storage_session_id: str
    original_filename: str = msgspec.field(name="originalFilename")
    last_modified: datetime = msgspec.field(name="lastModified")
    size: int
    etag: str
    content_type: str = msgspec.field(name="contentType")
    read_only: bool = msgspec.field(name="readOnly")


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `DELETE /files/{session}/{file}`."""

    message: Literal["deleted"] = "deleted"
    session_id: str
    file_id: str = msgspec.field(name="fileId")
