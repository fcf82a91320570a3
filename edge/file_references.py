"""Files that a request refers to must be there, and the asking tenant's, before anything is published."""

from typing import Literal, Protocol

from edge.refusals import refuse
from schemas.commands import RunCode
from schemas.ids import FileId, SessionId, TenantId, is_opaque_id


class FindsFiles(Protocol):
    """As much of a file store as it takes to check a reference."""

    async def find(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> object | None:
        """Return a file of `owner`, or None. Raises `Unavailable`."""


async def check_references(files: FindsFiles | None, command: RunCode, refused_as: Literal[403, 422]) -> None:
    """Raise `Refusal` for the first reference that names no stored file of the command's tenant.

    A file of another tenant is refused in the same words as one that never was. Without a store there
    are no stored files. `Unavailable` passes through.
    """
    error = "unauthorized_file_reference" if refused_as == 403 else "invalid_request"
    for index, file in enumerate(command.files):
        if file.session_id is None or file.file_id is None:
            continue
        known = is_opaque_id(file.session_id) and is_opaque_id(file.file_id) and files is not None
        if not known or await files.find(command.tenant, file.session_id, file.file_id) is None:  # type: ignore[union-attr]
            message = f"The file {file.name[:80]!r} refers to no stored file of yours."
            raise refuse(refused_as, error, message, f"files[{index}]")
