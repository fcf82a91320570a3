"""From the end of an execution to the answer of `POST /exec`.

Clients of this contract show a model stdout and stderr and nothing else, so whatever there is to know
about a run (a timeout, a signal, output that was cut) is said in stderr.
"""

import msgspec

from edge.compatible_command import CompatibleCommand
from edge.compatible_files import delivery_of, files_of
from edge.refusals import Refusal, refuse, try_later
from edge.transcript import Transcript
from schemas.compatible import CompatibleAnswer
from schemas.events import Finished


def compatible_answer(asked: CompatibleCommand, transcript: Transcript) -> CompatibleAnswer:
    """Return the answer to a run that started. Raises `Refusal` for one that did not, or was lost."""
    finished = transcript.finished
    if finished is None:
        raise try_later(503, "execution_lost", "The execution is past retention.", 1)
    if refusal := never_ran(finished):
        raise refusal
    return CompatibleAnswer(
        session_id=finished.session_id or asked.command.session_id or "",
        stdout=transcript.stdout,
        stderr=stderr_of(transcript, finished),
        files=files_of(asked, finished),
        code=finished.exit_code,
        signal=finished.signal,
        message=finished.message or None,
        status=finished.outcome,
        wall_time=round(finished.usage.wall_s * 1000, 3),
        deleted_files=finished.deleted_files or msgspec.UNSET,
        artifact_delivery=delivery_of(finished),
    )


def never_ran(finished: Finished) -> Refusal | None:
    """Return the refusal of a run that did not start, or was lost; None for every other."""
    match finished.outcome:
        case "rejected":
            return refuse(400, "rejected", finished.message)
        case "expired":
            message = finished.message or "No sandbox was free in time."
            return try_later(503, "execution_expired", message, 5)
        case "lost":
            return try_later(503, "execution_lost", finished.message, 1)
        case "cancelled" if finished.attempt == 0:
            return refuse(409, "cancelled", finished.message or "The execution was cancelled.")
        case _:
            return None


def stderr_of(transcript: Transcript, finished: Finished) -> str:
    """Return stderr with all that must be said of the end in it."""
    stderr = transcript.stderr
    for sentence in _sentences(transcript, finished, silent=not (stderr or transcript.stdout)):
        if sentence not in stderr:
            stderr += ("\n" if stderr and not stderr.endswith("\n") else "") + sentence + "\n"
    return stderr


def _sentences(transcript: Transcript, finished: Finished, *, silent: bool) -> list[str]:
    """Return what a reader of stderr must be told. A program that failed and said why needs no more."""
    sentences = []
    dropped = finished.output.dropped_bytes + transcript.dropped_bytes
    if dropped:
        sentences.append(f"Output was cut: {dropped} bytes after the limit were dropped.")
    if finished.outcome != "exited":
        sentences.append(finished.message or f"The execution ended: {finished.outcome}.")
    elif finished.exit_code and silent:
        sentences.append(finished.message or f"The program exited with status {finished.exit_code}.")
    sentences += [f"File {file.name!r} was not kept: {file.reason}." for file in finished.files_not_kept]
    return sentences
