"""What is known of one execution, read off its log within bounded memory."""

from schemas.events import AnyEvent, Finished, Output, OutputStream, Started
from schemas.http import ExecutionStatus, ExecutionView
from schemas.output import whole_characters
from schemas.wire import decode_event
from streams.protocol import ExecutionRecord, LoggedEvent

_TOLD = frozenset({"started", "output", "finished"})
"""Types of events that change an answer; the others are not even decoded."""


class Transcript:
    """Grows event by event. Output beyond `output_bytes_max` (of text as UTF-8) is counted, not kept."""

    def __init__(self, output_bytes_max: int) -> None:
        self.seq = 0
        self.started: Started | None = None
        self.finished: Finished | None = None
        self.dropped_bytes = 0
        self._room = output_bytes_max
        self._parts: dict[OutputStream, list[str]] = {"stdout": [], "stderr": []}

    @property
    def stdout(self) -> str:
        return "".join(self._parts["stdout"])

    @property
    def stderr(self) -> str:
        return "".join(self._parts["stderr"])

    def add(self, logged: LoggedEvent) -> None:
        """Take in the next event of the log."""
        self.seq = logged.seq
        if logged.type in _TOLD:
            self._tell(decode_event(logged.data))

    def _tell(self, event: AnyEvent) -> None:
        match event:
            case Started():
                self.started = event
            case Output():
                self._keep(event)
            case Finished():
                self.finished = event

    def _keep(self, event: Output) -> None:
        raw = event.raw()
        kept = raw[: self._room]
        if len(kept) < len(raw):
            kept, self._room = kept[: whole_characters(kept)], 0
        self._room = max(0, self._room - len(kept))
        self.dropped_bytes += len(raw) - len(kept)
        if kept:
            # JSON strings cannot carry bytes that are no UTF-8; whoever needs those reads the events.
            self._parts[event.stream].append(kept.decode(errors="replace"))


def view_of(record: ExecutionRecord, transcript: Transcript) -> ExecutionView:
    """Return the execution as far as it has come. The log is read after the record and knows more."""
    started, finished = transcript.started, transcript.finished
    view = ExecutionView(
        id=record.id,
        status=_status(record, transcript),
        language=record.language,
        session_id=record.session_id,
        created_at=record.created_at,
        started_at=started.time if started else record.started_at,
        stdout=transcript.stdout,
        stderr=transcript.stderr,
    )
    return _concluded(view, finished) if finished else view


def _status(record: ExecutionRecord, transcript: Transcript) -> ExecutionStatus:
    if transcript.finished:
        return "finished"
    return "running" if transcript.started else record.status


def _concluded(view: ExecutionView, finished: Finished) -> ExecutionView:
    return ExecutionView(
        id=view.id,
        status=view.status,
        language=view.language,
        session_id=finished.session_id or view.session_id,
        created_at=view.created_at,
        started_at=view.started_at,
        finished_at=finished.time,
        stdout=view.stdout,
        stderr=view.stderr,
        outcome=finished.outcome,
        stage=finished.stage,
        exit_code=finished.exit_code,
        signal=finished.signal,
        message=finished.message,
        usage=finished.usage,
        output=finished.output,
        files=finished.files,
        deleted_files=finished.deleted_files,
        files_not_kept=finished.files_not_kept,
        state=finished.state,
        attempt=finished.attempt,
    )
