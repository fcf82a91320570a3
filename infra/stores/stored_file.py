"""What is known of a stored file beside its bytes."""

import mimetypes
from dataclasses import dataclass
from datetime import datetime

from schemas.files import FileOrigin, FileRef
from schemas.ids import TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAttributes:
    """What whoever saves a file may say about it. The store keeps it and gives it back."""

    content_type: str | None = None
    """None: what the name suggests."""
    read_only: bool = False
    """Whether runs that change it leave no output."""
    kind: str | None = None
    resource_id: str | None = None
    version: int | None = None
    entity_id: str | None = None
    modified_from: FileOrigin | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A whole file in the store."""

    ref: FileRef
    owner: TenantId
    saved_at: datetime
    sha256: str
    """Of the bytes, in hexadecimal."""
    attributes: FileAttributes = FileAttributes()

    @property
    def etag(self) -> str:
        """A strong validator of the bytes, without quotes (RFC 9110, section 8.8.3)."""
        return self.sha256[:32]


def content_type_of(name: str) -> str:
    """Return the media type that `name` suggests."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
