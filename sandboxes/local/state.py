"""A Python program's variables on their way into its sandbox and out again: bytes that only it understands.

They lie in a folder beside the program. What comes out of there is the guest's word, whatever wrote it, and
nothing of it is ever unpickled here.
"""

import os
import stat
from dataclasses import dataclass

from sandboxes.guest.state import BEFORE, NOTE, SAVED
from sandboxes.guest_zip import guest_zip
from sandboxes.languages import Steps
from sandboxes.local.bubblewrap import PROGRAM_FOLDER
from sandboxes.local.files import put_bytes
from sandboxes.local.kernel import open_beneath
from sandboxes.protocol import SavedState, StateOrder
from sandboxes.state_files import BOOT, FOLDER, NOTE_BYTES_MAX, boot_script, saved_state, with_state


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The folder of one run."""

    program_fd: int
    uid: int
    order: StateOrder

    def put(self) -> None:
        """Put in what the run needs. Raises OSError."""
        self._put(BOOT, boot_script().encode())
        self._put("guest.zip", guest_zip())
        if self.order.before is not None:
            self._put(BEFORE, self.order.before)

    def steps(self, steps: Steps) -> Steps:
        """Return `steps` with the program run by our script."""
        return with_state(steps, PROGRAM_FOLDER, self.order)

    def take(self, exit_code: int | None) -> SavedState:
        """Return what the program, which ended with `exit_code`, left."""
        note, data = self._read(NOTE, NOTE_BYTES_MAX), self._read(SAVED, self.order.bytes_max)
        return saved_state(data, note, exit_code, self.order)

    def _put(self, name: str, content: bytes) -> None:
        put_bytes(self.program_fd, f"{FOLDER}/{name}", content, self.uid)

    def _read(self, name: str, bytes_max: int) -> bytes | None:
        """Return a file's content; None if it is no file, or larger than it may be."""
        try:
            fd = open_beneath(self.program_fd, f"{FOLDER}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            held = os.fstat(fd)
            if not stat.S_ISREG(held.st_mode) or held.st_size > bytes_max:
                return None
            return file.read(bytes_max)
