"""What a client of `POST /exec/programmatic` is told of a program that has ended."""

import signal

from msgspec import UNSET

from edge.compatible_answer import never_ran, stderr_of
from edge.compatible_files import delivery_of, outputs_of
from edge.refusals import try_later
from edge.transcript import Transcript
from schemas.events import Finished
from schemas.programmatic import ProgrammaticCompleted, ProgrammaticError

_FAILED = "Execution failed or timed out"
_SENTENCES = {"timed_out": "Time limit exceeded", "out_of_memory": "Out of memory"}
"""Clients show these and a few more, and hide every other."""


def programmatic_answer(transcript: Transcript, session_id: str) -> ProgrammaticCompleted | ProgrammaticError:
    """Return the answer to a program that ran. Raises `Refusal` for one that never did."""
    finished = transcript.finished
    if finished is None:
        raise try_later(503, "execution_lost", "The execution is past retention.", 1)
    if finished.attempt == 0 and (refusal := never_ran(finished)):
        raise refusal
    if finished.outcome == "exited":
        return ProgrammaticCompleted(
            session_id=finished.session_id or session_id,
            stdout=transcript.stdout,
            stderr=stderr_of(transcript, finished),
            files=outputs_of(finished),
            deleted_files=finished.deleted_files or UNSET,
            artifact_delivery=delivery_of(finished),
        )
    return ProgrammaticError(
        error=_error(finished),
        session_id=finished.session_id or session_id,
        stdout=transcript.stdout,
        stderr=stderr_of(transcript, finished),
    )


def _error(finished: Finished) -> str:
    number = getattr(signal, finished.signal or "", None)
    if finished.outcome == "killed" and isinstance(number, signal.Signals):
        return f"Sandbox exited with code {128 + number}"
    return _SENTENCES.get(finished.outcome, _FAILED)
