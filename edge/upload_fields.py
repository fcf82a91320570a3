"""What a client says about the files it uploads, in the fields before them."""

import msgspec

from edge.multipart import Part
from edge.refusals import refuse
from infra.stores.stored_file import FileAttributes

_FIELD_BYTES_MAX = 1024
_TRUE, _FALSE = frozenset({"true", "1"}), frozenset({"false", "0", ""})
_FIELDS = frozenset({"kind", "id", "version", "entity_id", "read_only"})


class UploadFields(msgspec.Struct, kw_only=True):
    """Gathers the fields; unknown ones are ignored."""

    kind: str | None = None
    id: str | None = None
    version: int | None = None
    entity_id: str | None = None
    read_only: bool = False

    async def take(self, part: Part, *, late: bool) -> None:
        """Read one field. Raises `Refusal` for one that cannot be read, or that comes after a file."""
        if part.name not in _FIELDS:
            return await part.drain()
        if late:
            message = f"The field {part.name!r} must come before the files."
            raise refuse(400, "invalid_request", message, part.name)
        text = (await part.text(_FIELD_BYTES_MAX)).strip()
        match part.name:
            case "version":
                self.version = _whole_number(text)
            case "read_only":
                self.read_only = _truth(text)
            case name:
                setattr(self, name, text or None)
        return None

    def attributes(self, content_type: str | None) -> FileAttributes:
        """Return what is kept with each file."""
        return FileAttributes(
            content_type=content_type,
            read_only=self.read_only,
            kind=self.kind,
            resource_id=self.id,
            version=self.version,
            entity_id=self.entity_id,
        )


def _whole_number(text: str) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    raise refuse(400, "invalid_request", "version must be a whole number.", "version")


def _truth(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise refuse(400, "invalid_request", "read_only must be true or false.", "read_only")
    return text.lower() in _TRUE
