"""How `millrace run` shows what a program does, here and on a server alike, and what its exit status says."""

import signal
import sys

import msgspec

from schemas.events import Outcome

EXIT_NOT_RUN = 125
"""It could not be run at all; the same number as other tools that run commands elsewhere."""
_STATUS = {"timed_out": 124, "out_of_memory": 137, "cancelled": 130}


class Ending(msgspec.Struct, kw_only=True):
    """How it ended, in the words of `finished`."""

    outcome: Outcome
    exit_code: int | None = None
    signal: str | None = None
    message: str = ""


class Printer:
    """Passes output on as it comes; or, for JSON, keeps it until the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._kept: dict[str, bytearray] | None = None
        if as_json:
            self._kept = {"stdout": bytearray(), "stderr": bytearray()}

    def output(self, stream: str, data: bytes) -> None:
        """Show or keep some bytes of one stream."""
        if self._kept is not None:
            self._kept[stream] += data
            return
        target = (sys.stdout if stream == "stdout" else sys.stderr).buffer
        target.write(data)
        target.flush()

    def end(self, ending: Ending, details: dict[str, object]) -> int:
        """Tell how it ended; return the exit status. `details` are for JSON only."""
        if self._kept is not None:
            streams = {name: bytes(data).decode(errors="replace") for name, data in self._kept.items()}
            told = streams | msgspec.to_builtins(ending) | details
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(told)).decode() + "\n")
        elif ending.outcome != "exited":
            sys.stderr.write(f"millrace: {ending.outcome}: {ending.message}\n")
        return exit_status(ending)


def exit_status(ending: Ending) -> int:
    """Return what a shell would have said of the program."""
    match ending.outcome:
        case "exited":
            return ending.exit_code or 0
        case "killed":
            return 128 + _number(ending.signal)
        case _:
            return _STATUS.get(ending.outcome, EXIT_NOT_RUN)


def _number(name: str | None) -> int:
    """Return the number of a signal; that of SIGKILL, by which limits are enforced, if none is named."""
    return signal.Signals.__members__.get(name or "", signal.SIGKILL).value
