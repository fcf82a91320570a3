"""The rules a readable `run_code` must still keep. One place for HTTP and streams alike.

Types are checked while decoding; here is what types cannot say: sizes, ranges, names, duplicates.
"""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from schemas.commands import RunCode
from schemas.files import InputFile, file_name_fault
from schemas.ids import EXECUTION_ID_RULE, is_execution_id, is_opaque_id
from schemas.languages import CHECKED_ON_REQUEST, LANGUAGE_CODES, find_language
from schemas.limits import Limits
from schemas.tool_names import TOOL_LANGUAGES, identifier_of


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's bounds on what a request may carry."""

    code_bytes_max: int = 1024 * 1024
    stdin_bytes_max: int = 1024 * 1024
    args_max: int = 256
    args_bytes_max: int = 128 * 1024
    env_max: int = 128
    env_bytes_max: int = 32 * 1024
    files_max: int = 50
    file_bytes_max: int = 10 * 1024 * 1024
    files_bytes_max: int = 50 * 1024 * 1024
    file_name_length_max: int = 255
    tools_max: int = 128
    tools_bytes_max: int = 1024 * 1024
    """Of names, descriptions and parameters together, about."""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request is refused: the field, a sentence, and the limit it broke."""

    field: str
    message: str
    limit: int | float | str | list[str] | None = None
    too_large: bool = False


TOOL_NAME_LENGTH_MAX = 256

_LIMIT_CEILINGS: dict[str, float] = {
    "timeout_s": 86_400,
    "memory_bytes_max": 1 << 50,
    "cpus": 1024,
    "pids_max": 1 << 22,
    "output_bytes_max": 1 << 40,
}
_LIMIT_FLOORS: dict[str, float] = {
    "timeout_s": 0.001,
    "memory_bytes_max": 4 * 1024 * 1024,
    "cpus": 0.001,
    "pids_max": 1,
    "output_bytes_max": 0,
}


def find_violation(command: RunCode, bounds: Bounds) -> Violation | None:
    """Return the first rule that `command` breaks, or None if it may run."""
    return next(_violations(command, bounds), None)


def _violations(command: RunCode, bounds: Bounds) -> Iterator[Violation]:
    yield from _identity(command)
    yield from _program(command, bounds)
    # What is not there breaks no rule; every request is looked at twice, by the edge and by its handler.
    if command.args:
        yield from _arguments(command, bounds)
    if command.env:
        yield from _environment(command, bounds)
    if command.files:
        yield from _files(command.files, bounds)
    if command.tools:
        yield from _tools(command, bounds)
    yield from _limits(command.limits)
    if command.webhook is not None:
        message = "webhook is not served yet: consume the results stream, or ask for the execution."
        yield Violation(field="webhook", message=message)


def _identity(command: RunCode) -> Iterator[Violation]:
    if command.id is not None and not is_execution_id(command.id):
        yield Violation(field="id", message=f"id must be {EXECUTION_ID_RULE}.", limit=EXECUTION_ID_RULE)
    if not is_execution_id(command.tenant):
        yield Violation(
            field="tenant", message=f"tenant must be {EXECUTION_ID_RULE}.", limit=EXECUTION_ID_RULE
        )
    if command.session_id is not None and not is_opaque_id(command.session_id):
        rule = "1 to 128 characters of [A-Za-z0-9_-]"
        yield Violation(field="session_id", message=f"session_id must be {rule}.", limit=rule)


def _program(command: RunCode, bounds: Bounds) -> Iterator[Violation]:
    language = find_language(command.language)
    if language is None:
        known = ", ".join(LANGUAGE_CODES)
        yield Violation(
            field="language",
            message=f"Unknown language {command.language[:40]!r}; known are: {known}.",
            limit=list(LANGUAGE_CODES),
        )
    elif command.check_types and language.code not in CHECKED_ON_REQUEST:
        known = ", ".join(CHECKED_ON_REQUEST)
        message = f"check_types is an option of these languages only: {known}."
        yield Violation(field="check_types", message=message, limit=list(CHECKED_ON_REQUEST))
    if not command.code.strip():
        yield Violation(field="code", message="code must not be empty.")
    if "\0" in command.code:
        yield Violation(field="code", message="code must not contain NUL.")
    yield from _size("code", command.code, bounds.code_bytes_max)
    yield from _size("stdin", command.stdin or "", bounds.stdin_bytes_max)


def _arguments(command: RunCode, bounds: Bounds) -> Iterator[Violation]:
    yield from _count("args", command.args, bounds.args_max)
    yield from _size("args", "".join(command.args), bounds.args_bytes_max)
    for index, argument in enumerate(command.args):
        if "\0" in argument:
            yield Violation(field=f"args[{index}]", message="An argument must not contain NUL.")


def _environment(command: RunCode, bounds: Bounds) -> Iterator[Violation]:
    yield from _count("env", command.env, bounds.env_max)
    yield from _size(
        "env", "".join(f"{name}={value}" for name, value in command.env.items()), bounds.env_bytes_max
    )
    for name, value in command.env.items():
        if not name or "=" in name or "\0" in name + value:
            message = "A variable's name must not be empty or contain '='; neither part may contain NUL."
            yield Violation(field=f"env.{name[:40]}", message=message)


def _files(files: list[InputFile], bounds: Bounds) -> Iterator[Violation]:
    yield from _count("files", files, bounds.files_max)
    seen: set[str] = set()
    folders: set[str] = set()
    total = 0
    for index, file in enumerate(files):
        field = f"files[{index}]"
        if fault := file_name_fault(file.name, bounds.file_name_length_max):
            yield Violation(
                field=f"{field}.name", message=f"The file name {fault}.", limit=bounds.file_name_length_max
            )
        if file.name in seen:
            yield Violation(
                field=f"{field}.name", message=f"The file name {file.name[:80]!r} is there twice."
            )
        parents = set(_parents(file.name))
        if parents & seen or file.name in folders:
            yield Violation(field=f"{field}.name", message="A file cannot lie below another file.")
        seen.add(file.name)
        folders |= parents
        size = yield from _file_content(file, field, bounds)
        total += size
    if total > bounds.files_bytes_max:
        yield _too_large("files", total, bounds.files_bytes_max)


def _file_content(file: InputFile, field: str, bounds: Bounds) -> Any:
    refers = file.session_id is not None and file.file_id is not None
    if file.is_inline == refers or (file.session_id is None) != (file.file_id is None):
        message = "A file needs either content, or session_id and file_id."
        yield Violation(field=field, message=message)
        return 0
    if not file.is_inline:
        return 0
    try:
        size = len(file.inline_bytes())
    except ValueError as error:
        yield Violation(field=f"{field}.content", message=f"content is {error}.")
        return 0
    if size > bounds.file_bytes_max:
        yield _too_large(f"{field}.content", size, bounds.file_bytes_max)
    return size


def _parents(name: str) -> Iterator[str]:
    levels = name.split("/")
    for depth in range(1, len(levels)):
        yield "/".join(levels[:depth])


def _tools(command: RunCode, bounds: Bounds) -> Iterator[Violation]:
    yield from _count("tools", command.tools, bounds.tools_max)
    language = find_language(command.language)
    if language is None or language.code not in TOOL_LANGUAGES:
        message = f"Tools can be called in {' and '.join(TOOL_LANGUAGES)} only."
        yield Violation(field="tools", message=message, limit=list(TOOL_LANGUAGES))
        return
    yield from _size("tools", str(command.tools), bounds.tools_bytes_max)
    callable_as: dict[str, str] = {}
    for index, tool in enumerate(command.tools):
        field = f"tools[{index}].name"
        identifier = identifier_of(tool.name, language.code)
        if not identifier or len(tool.name) > TOOL_NAME_LENGTH_MAX:
            message = (
                f"A tool needs a name with a letter or digit, of at most {TOOL_NAME_LENGTH_MAX} characters."
            )
            yield Violation(field=field, message=message, limit=TOOL_NAME_LENGTH_MAX)
        elif identifier in callable_as:
            both = f"{callable_as[identifier][:80]!r} and {tool.name[:80]!r}"
            yield Violation(field=field, message=f"Two tools cannot be told apart in code: {both}.")
        callable_as[identifier] = tool.name


def _limits(limits: Limits) -> Iterator[Violation]:
    for name, floor in _LIMIT_FLOORS.items():
        asked = getattr(limits, name)
        if asked is None:
            continue
        if not math.isfinite(asked) or asked < floor:
            yield Violation(field=f"limits.{name}", message=f"{name} must be at least {floor}.", limit=floor)
        elif asked > _LIMIT_CEILINGS[name]:
            ceiling = _LIMIT_CEILINGS[name]
            yield Violation(
                field=f"limits.{name}", message=f"{name} must be at most {ceiling}.", limit=ceiling
            )


def _count(field: str, things: Any, most: int) -> Iterator[Violation]:
    if len(things) > most:
        message = f"{field} has {len(things)} entries, the limit is {most}."
        yield Violation(field=field, message=message, limit=most)


def _size(field: str, text: str, most: int) -> Iterator[Violation]:
    size = len(text) if len(text) > most else len(text.encode(errors="surrogatepass"))
    if size > most:
        yield _too_large(field, size, most)


def _too_large(field: str, size: int, most: int) -> Violation:
    return Violation(
        field=field, message=f"{field} is {size} bytes, the limit is {most}.", limit=most, too_large=True
    )
