"""What is put into a sandbox so that a program may call tools, and the command line that runs it then.

The same for every body. `sandboxes/guest` runs inside; the two descriptors it talks over are the body's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from sandboxes.guest_zip import guest_source, guest_zip
from sandboxes.languages import Steps
from sandboxes.state_files import BESIDE_IT, BOOT, boot_script, booted
from sandboxes.state_files import FOLDER as STATE_FOLDER
from schemas.commands import Tool
from schemas.tool_names import identifier_of

_FOLDER = ".tools"
_TOOLS = "tools.json"
_SHELL = "shell.py"


@dataclass(frozen=True, slots=True)
class Channel:
    """The descriptors in the program that lead to the service."""

    answers_fd: int
    calls_fd: int


@dataclass(frozen=True, slots=True)
class Kit:
    """Files for the program folder, and what to run."""

    files: Mapping[str, bytes]
    steps: Steps


def tool_kit(
    language: str,
    steps: Steps,
    program_folder: str,
    tools: Sequence[Tool],
    channel: Channel,
    guest_zip_place: str = BESIDE_IT,
) -> Kit:
    """Return what a program of `language`, one of `TOOL_LANGUAGES`, needs to call `tools`.

    `guest_zip_place` is where the guest package is, in Python; unless it is said, it is among the files.
    """
    files = {f"{_FOLDER}/{_TOOLS}": msgspec.json.encode([_described(tool, language) for tool in tools])}
    plan = f"{program_folder}/{_FOLDER}/{_TOOLS}:{channel.answers_fd}:{channel.calls_fd}"
    if language == "py":
        place, boot, module = STATE_FOLDER, BOOT, "session"
        steps = booted(steps, program_folder, tools_plan=plan)
    else:
        place, boot, module = _FOLDER, _SHELL, "shell"
        files[f"{place}/call.py"] = guest_source("call.py")
        run = ("python3", "-I", "-S", "-X", "utf8", f"{program_folder}/{place}/{boot}", plan, *steps.run)
        steps = replace(steps, run=run)
    files[f"{place}/{boot}"] = boot_script(guest_zip_place, module).encode()
    if guest_zip_place == BESIDE_IT:
        files[f"{place}/guest.zip"] = guest_zip()
    return Kit(files, steps)


def _described(tool: Tool, language: str) -> dict[str, Any]:
    return {
        "name": tool.name,
        "identifier": identifier_of(tool.name, language),
        "description": tool.description,
        "parameters": tool.parameters,
    }
