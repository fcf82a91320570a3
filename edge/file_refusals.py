"""Why a file is not taken, naming the operator's setting that says so."""

from edge.refusals import Refusal
from infra.stores.file_quota import QuotaExceeded
from schemas.files import file_name_fault
from schemas.http import ErrorBody


class FileRefused(Refusal):
    """One file is not taken; others of the same request may be."""


_BROKEN = {
    "file_bytes_max": (413, "file_too_large", "MAX_FILE_SIZE_MB"),
    "session_bytes_max": (413, "files_too_large", "MAX_TOTAL_FILE_SIZE_MB"),
    "files_max": (400, "too_many_files", "MAX_FILES_PER_SESSION"),
}


def over_quota(exceeded: QuotaExceeded) -> FileRefused:
    """Return the refusal of a file that breaks a bound of the store."""
    status, error, setting = _BROKEN[exceeded.broken]
    message = f"{exceeded.message} ({setting})"
    limit = exceeded.limit if isinstance(exceeded.limit, int) else None
    return FileRefused(status, ErrorBody(error=error, message=message, field="file", limit=limit))


def check_name(name: str, length_max: int) -> None:
    """Raise `FileRefused` if `name` may not be a path below the working directory."""
    if len(name) > length_max:
        message = (
            f"The file name is {len(name)} characters long, the limit is {length_max} (MAX_FILENAME_LENGTH)."
        )
        body = ErrorBody(error="file_name_too_long", message=message, field="filename", limit=length_max)
        raise FileRefused(400, body)
    if fault := file_name_fault(name, length_max):
        message = f"The file name {fault}."
        raise FileRefused(400, ErrorBody(error="invalid_file_name", message=message, field="filename"))
