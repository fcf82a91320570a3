"""A Python program's variables on their way into its sandbox and out again: bytes that only it understands.

They lie in a folder beside the program. What comes out of there is the guest's word, whatever wrote it, and
nothing of it is ever unpickled here.
"""

import os
import stat
from dataclasses import dataclass, replace

from sandboxes.guest.state import BEFORE, NOTE, SAVED
from sandboxes.languages import Steps
from sandboxes.local.bubblewrap import PROGRAM_FOLDER
from sandboxes.local.files import put_bytes
from sandboxes.local.kernel import open_beneath
from sandboxes.local.zygote_code import guest_zip
from sandboxes.protocol import SavedState, StateOrder

_FOLDER = ".state"
_PLACE = f"{PROGRAM_FOLDER}/{_FOLDER}"
_BOOT = (
    "import sys; sys.path.insert(0, __file__.rpartition('/')[0] + '/guest.zip'); "
    "from guest.session import main; del sys.path[0]; main()\n"
)
BOOT_PLACE = f"{_PLACE}/boot.py"
"""The script that stands before a program whose variables are kept; a plan comes after it."""
_NOTE_BYTES_MAX = 4000
_NOT_ENDED = "The program ended in a way that left no time to save its variables; those of before are kept."
_FAILED = "The program failed, so its variables were not saved (STATE_CAPTURE_ON_ERROR)."


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The folder of one run."""

    program_fd: int
    uid: int
    order: StateOrder

    def put(self) -> None:
        """Put in what the run needs. Raises OSError."""
        self._put("boot.py", _BOOT.encode())
        self._put("guest.zip", guest_zip())
        if self.order.before is not None:
            self._put(BEFORE, self.order.before)

    def steps(self, steps: Steps) -> Steps:
        """Return `steps` with the program run by our script."""
        at = steps.run.index(f"{PROGRAM_FOLDER}/{steps.file_name}")
        plan = f"{_PLACE}:{self.order.bytes_max}:{self.order.on_error:d}"
        return replace(steps, run=(*steps.run[:at], BOOT_PLACE, plan, *steps.run[at:]))

    def take(self, exit_code: int | None) -> SavedState:
        """Return what the program, which ended with `exit_code`, left."""
        note = (self._read(NOTE, _NOTE_BYTES_MAX) or b"").decode(errors="replace")
        data = self._read(SAVED, self.order.bytes_max)
        if data is None and not note:
            note = _FAILED if exit_code and not self.order.on_error else _NOT_ENDED
        return SavedState(data, note)

    def _put(self, name: str, content: bytes) -> None:
        put_bytes(self.program_fd, f"{_FOLDER}/{name}", content, self.uid)

    def _read(self, name: str, bytes_max: int) -> bytes | None:
        """Return a file's content; None if it is no file, or larger than it may be."""
        try:
            fd = open_beneath(self.program_fd, f"{_FOLDER}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            held = os.fstat(fd)
            if not stat.S_ISREG(held.st_mode) or held.st_size > bytes_max:
                return None
            return file.read(bytes_max)
