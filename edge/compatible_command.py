"""From the body of `POST /exec` to a command: the compatible words translated into ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from starlette.requests import Request

from edge.config import EdgeConfig
from edge.native_command import checked, trace_of
from edge.refusals import Refusal, refuse
from schemas.commands import RunCode
from schemas.compatible import CompatibleFile, CompatibleRun
from schemas.files import InputFile
from schemas.ids import ExecutionId, FileId, SessionId, TenantId, new_id
from schemas.limits import Limits
from schemas.wire import decode_as


@dataclass(frozen=True, slots=True)
class CompatibleCommand:
    """A command, and what else the client told."""

    command: RunCode
    newer: Mapping[str, CompatibleFile]
    """References of the newer shape by the name each file is put under."""
    continues: str | None
    """The session of an earlier run that the client goes on from."""


_THEIR_NAMES = {"language": "lang", "limits.timeout_s": "timeout"}


def compatible_command(
    request: Request, body: bytes, tenant: TenantId, config: EdgeConfig, now: datetime
) -> CompatibleCommand:
    """Return the command in `body`. Raises `Refusal` or `WireFault`.

    A call is a session of its own, named like its execution, under which its files are stored, unless it
    `continues` one. Keys
    in the body and unknown fields are not taken over. Not started before anybody stops waiting for it,
    it costs no sandbox.
    """
    asked = decode_as(body, CompatibleRun)
    files = _by_name(asked.files)
    name = new_id()
    command = RunCode(
        id=ExecutionId(name),
        session_id=SessionId(name),
        tenant=tenant,
        language=asked.lang,
        code=asked.code,
        args=_args(asked),
        stdin="",
        files=input_files(asked.files),
        check_types=asked.check_types,
        limits=Limits(timeout_s=None if asked.timeout is None else asked.timeout / 1000),
        deadline=now + timedelta(seconds=config.start_s_max),
        trace=trace_of(request),
    )
    try:
        command = checked(command, config.bounds)
    except Refusal as refusal:
        raise in_their_words(refusal) from None
    newer = {name: file for name, file in files.items() if file.storage_session_id}
    return CompatibleCommand(command, newer, asked.session_id)


def input_files(files: Sequence[CompatibleFile] | None) -> list[InputFile]:
    """Return the files a request refers to in our words. Raises `Refusal`."""
    return [_input_file(file) for file in _by_name(files).values()]


def _by_name(files: Sequence[CompatibleFile] | None) -> dict[str, CompatibleFile]:
    """Of several files under one name the last counts, as it would when they were written one by one."""
    return {file.name: file for file in files or ()}


def _args(asked: CompatibleRun) -> list[str]:
    return [asked.args] if isinstance(asked.args, str) else asked.args or []


def _input_file(file: CompatibleFile) -> InputFile:
    """Take either shape of a reference; the name in the request decides where the file is put."""
    session = file.storage_session_id or file.session_id
    if not session or not file.id:
        message = f"The file {file.name[:80]!r} needs id, and storage_session_id or session_id."
        raise refuse(400, "invalid_request", message, "files")
    return InputFile(name=file.name, session_id=SessionId(session), file_id=FileId(file.id))


def in_their_words(refusal: Refusal) -> Refusal:
    """Return a refusal as clients of this contract expect it.

    Broken rules are 400 there, sizes too: 413 would read as "temporarily unavailable, retry".
    """
    field = _THEIR_NAMES.get(refusal.body.field or "", refusal.body.field)
    changed: dict[str, Any] = {"error": "invalid_request", "field": field}
    return Refusal(400, msgspec.structs.replace(refusal.body, **changed))
