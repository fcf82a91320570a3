"""One call of a tool from a shell: asks the broker, prints the result. See `shell`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

ASKING, BELL, ANSWER, BELLS = ".ask", ".bell", ".answer", "bells"
"""Endings of a caller's own files, and the fifo on which callers name themselves."""
_INPUT_BYTES_MAX = 1_000_000


def main() -> None:
    """Call the tool that the command line names after the folder, with the JSON that comes last."""
    _, folder, name, *arguments = sys.argv
    key = os.getpid()
    line = json.dumps({"key": key, "name": name, "input": _input(name, arguments)}).encode() + b"\n"
    if len(line) > _INPUT_BYTES_MAX:
        _fail(f"The input of a tool call may be {_INPUT_BYTES_MAX} bytes at most.")
    place = f"{folder}/{key}"
    try:
        answer = _ask(folder, place, key, line)
    except OSError as error:
        _fail(f"The tool could not be called: {error.strerror}.")
    finally:
        for ending in (ASKING, BELL, ANSWER):
            if os.path.exists(place + ending):  # noqa: PTH110 - pathlib takes as long as all of this
                os.unlink(place + ending)  # noqa: PTH108
    if "error" in answer:
        _fail(answer["error"])
    result = answer.get("result")
    text = (
        result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    )
    sys.stdout.write(text + "\n")


def _input(name: str, arguments: list[str]) -> dict[str, Any]:
    """Read the one argument. A lone JSON string is what tools with one text take."""
    if not arguments or arguments == [""]:
        return {}
    try:
        given = json.loads(arguments[0]) if len(arguments) == 1 else None
    except ValueError:
        given = None
    if isinstance(given, str):
        return {"input": given}
    if not isinstance(given, dict):
        _fail(f'{name} takes one argument, a JSON object such as \'{{"key": "value"}}\'.')
    return given


def _ask(folder: str, place: str, key: int, line: bytes) -> dict[str, Any]:
    os.mkfifo(place + BELL, 0o600)
    bell = os.open(place + BELL, os.O_RDWR)
    with open(place + ASKING, "wb") as file:
        file.write(line)
    bells = os.open(f"{folder}/{BELLS}", os.O_WRONLY)
    os.write(bells, b"%d\n" % key)
    if os.read(bell, 1) != b"\n":
        _fail("There is no room for the result.")
    with open(place + ANSWER, "rb") as file:
        answer: dict[str, Any] = json.loads(file.read())
    return answer


def _fail(message: str) -> NoReturn:
    sys.stderr.write(message + "\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
