"""Files that a request refers to must be there, and the asking tenant's, before anything is published."""

from typing import Literal

import msgspec

from edge.refusals import refuse
from infra.stores.files import FileStore
from infra.stores.stored_file import StoredFile
from schemas.commands import RunCode
from schemas.files import InputFile
from schemas.ids import TenantId


async def resolve_references(
    files: FileStore, command: RunCode, *, refused_as: Literal[403, 422], anywhere: bool = False
) -> RunCode:
    """Return `command` with every reference leading to a stored file of its tenant.

    With `anywhere` a file that is not in the session named may be in any other of the tenant's: some
    clients name the session of the last answer with every file they know. Raises `Refusal` for the first
    reference to nothing; a file of another tenant is refused in the same words as one that never was.
    """
    resolved = []
    for index, file in enumerate(command.files):
        if not file.is_inline:
            stored = await _find(files, command.tenant, file, anywhere=anywhere)
            if stored is None:
                error = "unauthorized_file_reference" if refused_as == 403 else "invalid_request"
                message = f"The file {file.name[:80]!r} refers to no stored file of yours."
                raise refuse(refused_as, error, message, f"files[{index}]")
            file = msgspec.structs.replace(file, session_id=stored.ref.session_id)  # noqa: PLW2901
        resolved.append(file)
    return msgspec.structs.replace(command, files=resolved)


async def _find(files: FileStore, tenant: TenantId, file: InputFile, *, anywhere: bool) -> StoredFile | None:
    assert file.session_id is not None and file.file_id is not None, "validated before"
    found = await files.find(tenant, file.session_id, file.file_id)
    if found is None and anywhere:
        return await files.find_anywhere(tenant, file.file_id)
    return found
