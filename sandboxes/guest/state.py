"""The variables of a session: put into `__main__` before a program runs, saved after it.

What cannot be restored or saved is named in a sentence on stderr and in a note to the service. Nothing that
goes wrong here ends the program.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import sys
import types
from pathlib import Path
from typing import NamedTuple

from .our_cloudpickle import working
from .packing import TooLarge
from .variables import reason_of, restore_variables, save_variables, write_all

BEFORE, SAVING, SAVED, NOTE = "before", "saving", "saved", "note"
"""Files in the state's folder: what to restore, what is being saved, what was, and what to say of it."""

_NAMED_MAX = 10


class Plan(NamedTuple):
    """What the service wants to be done about a program's variables."""

    folder: str
    bytes_max: int
    on_error: bool
    """Save also when the program failed."""

    @classmethod
    def parse(cls, words: str) -> Plan:
        """Read what `local/state.py` wrote."""
        folder, bytes_max, on_error = words.split(":")
        return cls(folder, int(bytes_max), on_error == "1")


class Keeper:
    """Restores and saves the variables of one run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._pid = os.getpid()
        self._said: list[str] = []

    def restore(self, main: types.ModuleType) -> None:
        """Give `main` the variables that were saved. What cannot be read is told on stderr."""
        try:
            before = self._take()
        except FileNotFoundError:
            return
        try:
            with working(main):
                lost = restore_variables(main.__dict__, memoryview(before))
        except BaseException as why:
            reason = reason_of(why)
            self._tell(f"The saved variables could not be restored, so this run began without: {reason}.")
        else:
            if lost:
                self._tell(f"Not restored: {_listed(lost)}.")

    def _take(self) -> mmap.mmap | bytes:
        """Return what was saved; its file is gone then, for its memory is the program's."""
        path = self._file(BEFORE)
        with path.open("rb") as file:
            path.unlink()
            size = os.fstat(file.fileno()).st_size
            return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""

    def save(self, main: types.ModuleType, status: int) -> None:
        """Save the variables of `main`, if the program's exit status lets us. What is left out is told."""
        if os.getpid() != self._pid or (status and not self._plan.on_error):
            return
        try:
            with working(main):
                left_out = save_variables(main, self._file(SAVING), self._plan.bytes_max)
            if left_out:
                self._tell(f"Not saved: {_listed(left_out)}.")
        except TooLarge:
            most = self._plan.bytes_max / (1 << 20)
            self._tell(f"The variables were not saved: they take more than {most:g} MiB (STATE_MAX_SIZE_MB).")
        except BaseException as error:
            self._tell(f"The variables were not saved: {reason_of(error)}.")
        else:
            self._file(SAVING).rename(self._file(SAVED))
        with contextlib.suppress(OSError):
            self._file(NOTE).write_text(" ".join(self._said), "utf-8")

    def _file(self, name: str) -> Path:
        return Path(self._plan.folder, name)

    def _tell(self, sentence: str) -> None:
        self._said.append(sentence)
        with contextlib.suppress(Exception):
            sys.stderr.write(f"[session] {sentence}\n")
            sys.stderr.flush()


def warm_up() -> None:
    """Import and use what saving and restoring need, so that no child pays for it."""
    main = types.ModuleType("__main__")
    exec("import os.path as path\nclass A:\n def f(self): return path\na, b = A(), lambda: a", main.__dict__)
    file = io.BytesIO()
    with working(main):
        write_all(main, ["a", "b", "path"], file, 1 << 20)
        restore_variables({}, file.getbuffer())


def _listed(reasons: dict[str, str]) -> str:
    named = [f"{name} ({reason})" for name, reason in list(reasons.items())[:_NAMED_MAX]]
    more = len(reasons) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
