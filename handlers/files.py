"""Files of one execution: put in before the run, stored after it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from infra.errors import RequestRefused, Unavailable
from infra.stores.files import FileStore
from sandboxes.protocol import Sandbox
from schemas.commands import RunCode
from schemas.files import FileRef, InputFile
from schemas.ids import SessionId, new_id


@dataclass(slots=True)
class Kept:
    """What became of the files after a run; `notes` are sentences about what was not kept."""

    files: list[FileRef] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def put_files(sandbox: Sandbox, command: RunCode, store: FileStore) -> None:
    """Put the command's files into the sandbox. Raises `RequestRefused` for a reference to nothing."""
    for index, file in enumerate(command.files):
        await sandbox.put_file(file.name, await _content(command, file, index, store))


async def _content(command: RunCode, file: InputFile, index: int, store: FileStore) -> AsyncIterator[bytes]:
    if file.is_inline:
        return _once(file.inline_bytes())
    assert file.session_id is not None and file.file_id is not None, "validated before"
    stored = await store.find(command.tenant, file.session_id, file.file_id)
    if stored is None:
        raise RequestRefused(
            f"There is no file {file.file_id!r} in session {file.session_id!r}.", field=f"files[{index}]"
        )
    return store.read(stored)


async def keep_files(sandbox: Sandbox, command: RunCode, store: FileStore) -> Kept:
    """Store what the run produced. What cannot be kept is told in the notes; the run stays good."""
    changes = await sandbox.changes()
    session_id = command.session_id or SessionId(new_id())
    kept = Kept(deleted=list(changes.deleted))
    kept.notes += [f"File {name!r} was not kept: {why}." for name, why in changes.skipped]
    if not command.keep_files:
        return kept
    for produced in changes.produced:
        try:
            content = sandbox.read_file(produced.name)
            kept.files.append(await store.save(command.tenant, session_id, produced.name, content))
        except (Unavailable, RequestRefused) as error:
            kept.notes.append(f"File {produced.name!r} was not kept: {error.message}")
    return kept


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
