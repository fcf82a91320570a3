"""What `millrace run` is asked to do, as the command that goes on the wire."""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.errors import RequestRefused
from schemas.commands import RunCode
from schemas.files import InputFile
from schemas.ids import ExecutionId, SessionId, new_id
from schemas.languages import LANGUAGE_CODES, LANGUAGES, find_language
from schemas.limits import Limits

_MORE_SUFFIXES = {
    ".mjs": "js",
    ".cjs": "js",
    ".mts": "ts",
    ".cc": "cpp",
    ".cxx": "cpp",
    ".f": "f90",
    ".f95": "f90",
    ".bash": "bash",
}
_SUFFIXES = {Path(language.file_name).suffix: language.code for language in LANGUAGES} | _MORE_SUFFIXES


def build_command(  # noqa: PLR0913 - one parameter an option
    file: Path,
    *,
    language: str | None,
    stdin: str | None,
    files: Sequence[Path],
    session: str | None,
    timeout_s: float | None,
    check_types: bool = False,
) -> RunCode:
    """Read the program and the files beside it. Raises `RequestRefused` for what cannot be read or run."""
    return RunCode(
        id=ExecutionId(f"cli-{new_id()}"),
        language=_language_of(file, language),
        code=_text(file),
        stdin=stdin,
        files=[_input_file(path) for path in files],
        session_id=SessionId(session) if session else None,
        limits=Limits(timeout_s=timeout_s),
        check_types=check_types,
    )


def _language_of(file: Path, asked: str | None) -> str:
    if asked is None and (known := _SUFFIXES.get(file.suffix.lower())):
        return known
    if asked is not None and (language := find_language(asked)):
        return language.code
    names = ", ".join(LANGUAGE_CODES)
    if asked is None:
        raise RequestRefused(
            f"the suffix of {file.name!r} tells no language; name it with --language: {names}",
            field="language",
        )
    raise RequestRefused(f"unknown language {asked!r}; known are: {names}", field="language")


def _text(file: Path) -> str:
    data = sys.stdin.buffer.read() if str(file) == "-" else _bytes(file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestRefused(f"{file} is no UTF-8 text: {error.reason} at byte {error.start}") from error


def _input_file(path: Path) -> InputFile:
    data = _bytes(path)
    try:
        return InputFile(name=path.name, content=data.decode())
    except UnicodeDecodeError:
        return InputFile(name=path.name, content=base64.b64encode(data).decode(), encoding="base64")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RequestRefused(f"{path} cannot be read: {error.strerror}") from error
