"""The suite must be able to fail: broken stories are told, and promises broken on purpose are caught."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.events import Event, Finished, Output, Queued, Started
from schemas.ids import ExecutionId
from tests.chaos.crew import ROOT
from tests.chaos.load import Job
from tests.chaos.verdict import Story, violations

BEGAN = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def at(seq: int, late_s: float = 0) -> dict[str, Any]:
    """Return what every event has."""
    return {"execution_id": ExecutionId("job"), "seq": seq, "time": BEGAN + timedelta(seconds=seq + late_s)}


def started(seq: int, attempt: int = 1, late_s: float = 0) -> Started:
    return Started(attempt=attempt, sandbox="local", language="py", **at(seq, late_s))


def said(seq: int, text: str) -> Output:
    return Output(stream="stdout", data=text, **at(seq))


def ended(seq: int, outcome: str = "exited", late_s: float = 0) -> Finished:
    return Finished(outcome=outcome, exit_code=0, **at(seq, late_s))  # type: ignore[arg-type]


def story(*log: Event, results: int = 1, **job: Any) -> Story:
    """Return an execution that prints two lines and exits with 0, and its log."""
    body = {"retry": job.pop("retry", "if_not_started"), "session_id": job.pop("session", None)}
    known = {"accepted_at": BEGAN, "seen": list(range(1, len(log) + 1)), "saw_end": True, **job}
    made = Job("job", body, "one\ntwo\n", 0, "watch", None, **known)
    return Story(made, log, results)


QUEUED = Queued(**at(1))
GOOD = (QUEUED, started(2), said(3, "one\n"), said(4, "two\n"), ended(5))


@pytest.mark.parametrize(
    "good",
    [
        story(*GOOD),
        story(QUEUED, ended(2, "expired")),
        story(QUEUED, started(2), said(3, "one\n"), ended(4, "lost")),
        story(
            *(QUEUED, started(2), said(3, "one\n"), started(4, 2), said(5, "one\ntwo\n"), ended(6)),
            retry="always",
        ),
        story(accepted_at=None, results=0),
    ],
)
def test_what_keeps_the_promise_is_no_violation(good: Story) -> None:
    """Outcomes that nobody likes among it."""
    assert list(violations([good])) == []


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (story(results=0), "not known"),
        (story(*GOOD[:-1]), "0 `finished`"),
        (story(*GOOD, ended(6)), "2 `finished`"),
        (story(QUEUED, started(2), ended(4)), "gaps"),
        (story(*GOOD[1:]), "gaps"),
        (story(*GOOD, results=0), "no result"),
        (story(*GOOD, seen=[1, 2, 2, 3, 4, 5]), "watcher"),
        (story(*GOOD, seen=[1, 2, 4, 5]), "watcher"),
        (story(*GOOD, saw_end=False), "no end"),
        (story(*GOOD, answer={"outcome": "lost"}), "answered lost"),
        (story(QUEUED, started(2), said(3, "one\n"), ended(4)), "4 of 8 bytes"),
        (story(QUEUED, started(2), said(3, "one\n"), said(4, "one\n"), ended(5, "lost")), "does not"),
        (story(QUEUED, started(2), started(3, 2), said(4, "one\ntwo\n"), ended(5)), "started 2 times"),
        (
            story(QUEUED, started(2), started(3, 1), said(4, "one\ntwo\n"), ended(5), retry="always"),
            "attempts are [1, 1]",
        ),
        (story(QUEUED, started(2), ended(3, "expired")), "expired and had started"),
    ],
)
def test_a_broken_story_is_told(broken: Story, says: str) -> None:
    """In a sentence that names what is wrong."""
    assert any(says in sentence for sentence in violations([broken])), list(violations([broken]))


def test_only_what_clients_were_told_is_borne_where_a_primary_was_replaced() -> None:
    """What the log says is judged as ever."""
    told_more = story(*GOOD, seen=[1, 2, 3, 4, 5, 6, 7], answer={"outcome": "lost"})
    assert len(list(violations([told_more]))) == 2
    assert list(violations([told_more], lambda _job: True)) == []
    ended_twice = story(*GOOD, ended(6))
    assert any("2 `finished`" in fault for fault in violations([ended_twice], lambda _job: True))


def test_two_of_a_session_at_once_are_told() -> None:
    """The second began before the first had ended."""
    first = story(QUEUED, started(2), said(3, "one\ntwo\n"), ended(4), session="s")
    second = story(QUEUED, started(2, late_s=1), said(3, "one\ntwo\n"), ended(4, late_s=9), session="s")
    assert any("of the same s ended" in sentence for sentence in violations([first, second]))
    elsewhere = story(*second.log, session="another")
    assert list(violations([first, elsewhere])) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("started", "times although retry is"),
        ("acknowledge", "was not seen to its end"),
        ("double", "which its code does not"),
    ],
)
def test_a_promise_that_is_broken_on_purpose_is_caught(fault: str, says: str) -> None:
    """By the whole suite, with real processes: it prints what was violated and its seed."""
    words = [sys.executable, "-m", "tests.chaos", "--seconds", "25", "--seed", "1", "--fault", fault]
    run = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = run.communicate(timeout=500)
    finally:
        run.terminate()  # if it is not over: it takes its servers along
    assert run.wait(60) == 1, said
    assert any(says in line for line in said.splitlines() if line.startswith("VIOLATED")), said
    assert "seed 1" in said
