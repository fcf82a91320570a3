"""The folder through which a Python program's variables go in and come out: names, and what they mean.

How the files get there is each body's own affair; what lies in them only the guest understands.
"""

from dataclasses import replace

from sandboxes.languages import Steps
from sandboxes.protocol import SavedState, StateOrder

FOLDER, BOOT = ".state", "boot.py"
NOTE_BYTES_MAX = 4000
_NOT_ENDED = "The program ended in a way that left no time to save its variables; those of before are kept."
_FAILED = "The program failed, so its variables were not saved (STATE_CAPTURE_ON_ERROR)."


BESIDE_IT = "__file__.rpartition('/')[0] + '/guest.zip'"


def boot_script(guest_zip: str = BESIDE_IT) -> str:
    """Return the script that stands before the program; `guest_zip` is where the guest is, in Python."""
    first = f"import sys; sys.path.insert(0, {guest_zip}); "
    return first + "from guest.session import main; del sys.path[0]; main()\n"


def with_state(steps: Steps, program_folder: str, order: StateOrder) -> Steps:
    """Return `steps` with the program run by that script, a plan between the two."""
    place = f"{program_folder}/{FOLDER}"
    at = steps.run.index(f"{program_folder}/{steps.file_name}")
    plan = f"{place}:{order.bytes_max}:{order.on_error:d}"
    return replace(steps, run=(*steps.run[:at], f"{place}/{BOOT}", plan, *steps.run[at:]))


def saved_state(
    data: bytes | None, note: bytes | None, exit_code: int | None, order: StateOrder
) -> SavedState:
    """Return what a run that ended with `exit_code` left in the files of these names."""
    text = (note or b"").decode(errors="replace")
    if data is None and not text:
        text = _FAILED if exit_code and not order.on_error else _NOT_ENDED
    return SavedState(data, text)
