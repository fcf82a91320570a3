"""The files of a finished run, as clients of the compatible contract are told of them.

Each client keeps what it is told and sends it along with its next call. An input that is as it was is
told, as `inherited`, to clients that refer to files in the newer shape. The older ones would take it for
an output and look for it in the wrong session, so they are told nothing of it.
"""

from collections.abc import Iterator

from msgspec import UNSET, UnsetType

from edge.compatible_command import CompatibleCommand
from schemas.compatible import ArtifactDelivery, CompatibleFileRef, CompatibleOrigin
from schemas.events import Finished
from schemas.files import FileRef


def files_of(asked: CompatibleCommand, finished: Finished) -> list[CompatibleFileRef]:
    """Return the outputs, and then the inputs that the client still has."""
    return [*outputs_of(finished), *_inherited(asked, finished)]


def outputs_of(finished: Finished) -> list[CompatibleFileRef]:
    """Return what was new or changed."""
    return [_output(ref) for ref in finished.files]


def delivery_of(finished: Finished) -> ArtifactDelivery | UnsetType:
    """Return what is said of outputs that were not kept, if there are any."""
    failed, delivered = len(finished.files_not_kept), len(finished.files)
    if not failed:
        return UNSET
    return ArtifactDelivery(
        status="partial" if delivered else "failed",
        attempted=failed + delivered,
        delivered=delivered,
        failed=failed,
    )


def _output(ref: FileRef) -> CompatibleFileRef:
    origin = ref.modified_from
    return CompatibleFileRef(
        id=ref.id,
        name=ref.name,
        session_id=ref.session_id,
        storage_session_id=ref.session_id,
        modified_from=CompatibleOrigin(id=origin.id, storage_session_id=origin.session_id)
        if origin
        else UNSET,
    )


def _inherited(asked: CompatibleCommand, finished: Finished) -> Iterator[CompatibleFileRef]:
    changed = {ref.name for ref in finished.files} | set(finished.deleted_files)
    for file in asked.command.files:
        sent = asked.newer.get(file.name)
        if sent is None or file.name in changed or file.session_id is None:
            continue
        yield CompatibleFileRef(
            id=sent.id,
            name=file.name,
            session_id=file.session_id,
            storage_session_id=file.session_id,
            inherited=True,
            resource_id=sent.resource_id or UNSET,
            kind=sent.kind or UNSET,
            version=UNSET if sent.version is None else sent.version,
        )
