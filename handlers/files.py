"""Files of one execution: put in before the run, stored after it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from infra.errors import RequestRefused, Unavailable
from infra.stores.files import FileStore
from infra.stores.stored_file import FileAttributes, StoredFile
from sandboxes.protocol import Sandbox, SandboxUnavailable
from schemas.commands import RunCode
from schemas.events import StateInfo
from schemas.files import FileNotKept, FileOrigin, FileRef, InputFile
from schemas.ids import SessionId, new_id


@dataclass(slots=True)
class Kept:
    """What is left after a run: what became of its files, and of its variables."""

    files: list[FileRef] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    not_kept: list[FileNotKept] = field(default_factory=list)
    state: StateInfo = field(default_factory=StateInfo)


class ExecutionFiles:
    """The files of one attempt, on their way from the store into its sandbox and back."""

    def __init__(self, command: RunCode, store: FileStore) -> None:
        self._command = command
        self._store = store
        self._inputs: dict[str, StoredFile] = {}

    async def put(self, sandbox: Sandbox) -> None:
        """Put the command's files into the sandbox.

        Raises:
            RequestRefused: a reference leads to nothing.
            SandboxUnavailable: the store is away, so that no sandbox can be furnished.
        """
        for index, file in enumerate(self._command.files):
            if file.is_inline:
                await sandbox.put_file(file.name, _once(file.inline_bytes()))
                continue
            try:
                stored = self._inputs[file.name] = await self._find(file, index)
                await sandbox.put_file(file.name, self._store.read(stored))
            except Unavailable as away:
                message = f"file {file.name!r} could not be read: {away.message}"
                raise SandboxUnavailable(message, retry_after_s=away.retry_after_s) from away

    async def keep(self, sandbox: Sandbox) -> Kept:
        """Store what the run produced. What cannot be kept is said; the run stays good.

        A read-only input is never an output, whatever the code did to it.
        """
        changes = await sandbox.changes()
        kept = Kept(deleted=list(changes.deleted))
        kept.not_kept += [
            FileNotKept(name=name, reason=why) for name, why in changes.skipped if self._may_be_output(name)
        ]
        if self._command.keep_files:
            session_id = self._command.session_id or SessionId(new_id())
            for produced in changes.produced:
                if self._may_be_output(produced.name):
                    await self._keep(sandbox, session_id, produced.name, kept)
        return kept

    async def _find(self, file: InputFile, index: int) -> StoredFile:
        assert file.session_id is not None and file.file_id is not None, "validated before"
        stored = await self._store.find(self._command.tenant, file.session_id, file.file_id)
        if stored is None:
            message = f"There is no file {file.file_id!r} in session {file.session_id!r}."
            raise RequestRefused(message, field=f"files[{index}]")
        return stored

    def _may_be_output(self, name: str) -> bool:
        stored = self._inputs.get(name)
        return stored is None or not stored.attributes.read_only

    async def _keep(self, sandbox: Sandbox, session_id: SessionId, name: str, kept: Kept) -> None:
        try:
            kept.files.append(await self._store_output(sandbox, session_id, name))
        except (Unavailable, RequestRefused) as error:
            kept.not_kept.append(FileNotKept(name=name, reason=error.message.rstrip(".")))

    async def _store_output(self, sandbox: Sandbox, session_id: SessionId, name: str) -> FileRef:
        """Store one output in the session; beside it if it is full and only a client's thread of runs.

        Each run of such a client could have had a session of its own, so none shall end for want of room.
        """
        before, tenant = self._inputs.get(name), self._command.tenant
        origin = FileOrigin(id=before.ref.id, session_id=before.ref.session_id) if before else None
        attributes = FileAttributes(modified_from=origin)
        try:
            return await self._store.save(tenant, session_id, name, sandbox.read_file(name), attributes)
        except RequestRefused:
            if not self._command.session_unlisted or self._command.id is None:
                raise
        own = SessionId(self._command.id)
        return await self._store.save(tenant, own, name, sandbox.read_file(name), attributes)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
