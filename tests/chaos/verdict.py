"""What must hold after a chaos run, from the logs themselves: the invariants of docs/delivery.md."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from schemas.events import Event, Finished, Output, Queued, Started
from tests.chaos.load import Job

NEVER_STARTED = ("rejected", "expired")


@dataclass(frozen=True)
class Story:
    """All that is known of one execution afterwards."""

    job: Job
    log: Sequence[Event]
    results: int
    """How often the results stream has it."""

    @property
    def finished(self) -> Finished | None:
        """Return its end."""
        return self.log[-1] if self.log and isinstance(self.log[-1], Finished) else None


def violations(
    stories: Sequence[Story], may_forget: Callable[[Job], bool] = lambda _job: False
) -> Iterator[str]:
    """Yield what should not be, as sentences. Of a job that `may_forget` what clients were told is borne."""
    for story in stories:
        for fault in (*_of_one(story), *(() if may_forget(story.job) else contradictions(story))):
            yield f"{story.job.id}: {fault}"
    yield from _turns(stories)


def _of_one(story: Story) -> Iterator[str]:
    if not story.log:
        return
    yield from _shape(story)
    yield from _starts(story)
    yield from _output(story)
    if story.finished and story.results < 1:
        yield "has no result"


def contradictions(story: Story) -> Iterator[str]:
    """Yield what its clients were told and its log does not say.

    A primary that is replaced may take along what it had told, and only that can be borne (docs/delivery.md).
    """
    job, log = story.job, story.log
    if not log and job.accepted_at is not None:
        yield "was accepted and is not known"
        return
    if job.vanished:
        yield "was accepted and not known a moment later"
    if job.seen != sorted(set(job.seen)) or (job.seen and job.seen != list(range(1, len(log) + 1))):
        yield f"its watcher saw {job.seen}, the log has {len(log)} events"
    elif job.seen and not job.saw_end:
        yield f"its watcher saw {len(job.seen)} events and no end, which the last of them is in the log"
    if job.answer is not None and story.finished and job.answer.get("outcome") != story.finished.outcome:
        yield f"its client was answered {job.answer.get('outcome')}, the log says {story.finished.outcome}"


def _shape(story: Story) -> Iterator[str]:
    log = story.log
    if [event.seq for event in log] != list(range(1, len(log) + 1)):
        yield f"seq has gaps: {[event.seq for event in log]}"
    ends = sum(isinstance(event, Finished) for event in log)
    if ends != 1 or story.finished is None:
        yield f"has {ends} `finished`, and ends with {type(log[-1]).__name__}"
    if sum(isinstance(event, Queued) for event in log) != 1 or not isinstance(log[0], Queued):
        yield "does not begin with its one `queued`"


def _starts(story: Story) -> Iterator[str]:
    attempts = [event.attempt for event in story.log if isinstance(event, Started)]
    if len(attempts) > 1 and story.job.body["retry"] != "always":
        yield f"started {len(attempts)} times although retry is {story.job.body['retry']}"
    if any(later <= earlier for earlier, later in pairwise(attempts)):
        yield f"its attempts are {attempts}"
    if story.finished and story.finished.outcome in NEVER_STARTED and attempts:
        yield f"is {story.finished.outcome} and had started"


def _output(story: Story) -> Iterator[str]:
    said = ""
    for event in story.log:
        if isinstance(event, Started):
            said = ""
        elif isinstance(event, Output) and event.stream == "stdout":
            said += event.data
    finished = story.finished
    whole = finished is not None and finished.outcome == "exited"
    if not story.job.expected.startswith(said):
        yield f"printed {said[-80:]!r}, which its code does not"
    elif whole and said != story.job.expected:
        yield f"has {len(said)} of {len(story.job.expected)} bytes of output, and ended by itself"
    if whole and finished is not None and finished.exit_code != story.job.exit_code:
        yield f"exited with {finished.exit_code}, its code with {story.job.exit_code}"


def _turns(stories: Sequence[Story]) -> Iterator[str]:
    """Executions of one session run one after the other."""
    sessions: Mapping[str, list[tuple[float, float, str]]] = defaultdict(list)
    for story in stories:
        starts = [event.time.timestamp() for event in story.log if isinstance(event, Started)]
        session = story.job.body.get("session_id")
        if session and starts and story.finished:
            sessions[session].append((starts[0], story.finished.time.timestamp(), story.job.id))
    for session, spans in sessions.items():
        for (_, ended, one), (began, _, other) in pairwise(sorted(spans)):
            if began < ended:
                yield f"{other} began {ended - began:.3f} s before {one} of the same {session} ended"


def summary(stories: Sequence[Story]) -> dict[str, dict[str, int]]:
    """Return counts of what happened to them."""
    outcomes = Counter(story.finished.outcome if story.finished else "none" for story in stories if story.log)
    channels = Counter(story.job.channel for story in stories)
    again = Counter(sum(isinstance(event, Started) for event in story.log) for story in stories if story.log)
    return {
        "outcomes": dict(outcomes),
        "channels": dict(channels),
        "starts": {str(count): number for count, number in sorted(again.items())},
    }
