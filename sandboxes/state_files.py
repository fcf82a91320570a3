"""The folder through which a Python program's variables go in and come out: names, and what they mean.

How the files get there is each body's own affair; what lies in them only the guest understands.
"""

from dataclasses import replace

from sandboxes.languages import Steps
from sandboxes.protocol import SavedState, StateOrder

FOLDER, BOOT = ".state", "boot.py"
NO_PLAN = "-"
"""Stands where the boot script is given no plan for variables, or none for tools."""
NOTE_BYTES_MAX = 4000
_NOT_ENDED = "The program ended in a way that left no time to save its variables; those of before are kept."
_FAILED = "The program failed, so its variables were not saved (STATE_CAPTURE_ON_ERROR)."


BESIDE_IT = "__file__.rpartition('/')[0] + '/guest.zip'"


def boot_script(guest_zip: str = BESIDE_IT, module: str = "session") -> str:
    """Return the script that stands before the program; `guest_zip` is where the guest is, in Python."""
    first = f"import sys; sys.path.insert(0, {guest_zip}); "
    return first + f"from guest.{module} import main; del sys.path[0]; main()\n"


def with_state(steps: Steps, program_folder: str, order: StateOrder) -> Steps:
    """Return `steps` with the program run by that script, which keeps its variables."""
    return booted(steps, program_folder, state_plan=plan_of_state(program_folder, order))


def booted(
    steps: Steps, program_folder: str, *, state_plan: str = NO_PLAN, tools_plan: str = NO_PLAN
) -> Steps:
    """Return `steps` with the program run by that script, two plans between them. A plan given once stays."""
    boot, source = f"{program_folder}/{FOLDER}/{BOOT}", f"{program_folder}/{steps.file_name}"
    at = steps.run.index(boot if boot in steps.run else source)
    before, (*plans, rest) = steps.run[:at], (NO_PLAN, NO_PLAN, steps.run[at:])
    if boot in steps.run:
        plans, rest = list(steps.run[at + 1 : at + 3]), steps.run[at + 3 :]
    asked = (state_plan, tools_plan)
    both = (old if new == NO_PLAN else new for old, new in zip(plans, asked, strict=True))
    return replace(steps, run=(*before, boot, *both, *rest))


def plan_of_state(program_folder: str, order: StateOrder) -> str:
    """Return what the guest is told of the variables: where they lie, and what may be saved."""
    return f"{program_folder}/{FOLDER}:{order.bytes_max}:{order.on_error:d}"


def saved_state(
    data: bytes | None, note: bytes | None, exit_code: int | None, order: StateOrder
) -> SavedState:
    """Return what a run that ended with `exit_code` left in the files of these names."""
    text = (note or b"").decode(errors="replace")
    if data is None and not text:
        text = _FAILED if exit_code and not order.on_error else _NOT_ENDED
    return SavedState(data, text)
