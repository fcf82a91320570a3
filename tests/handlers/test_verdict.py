"""What `retry`, the attempt limit and the deadline make of an execution that is begun again."""

from datetime import UTC, datetime, timedelta

import pytest

from handlers.verdict import is_expired, verdict
from schemas.commands import RunCode
from streams.protocol import Begun, Lease

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def begun(retry: str, *, attempt: int = 1, started_before: bool = False, over_limit: bool = False) -> Begun:
    command = RunCode(language="py", code="1", id="job-1", retry=retry)
    lease = Lease("job-1", token=1, attempt=attempt, seq=1, delivery=None, command=command)
    return Begun(lease, started_before=started_before, over_limit=over_limit)


@pytest.mark.parametrize("retry", ["never", "if_not_started", "always"])
def test_a_first_attempt_may_run_whatever_retry_says(retry):
    """There is nothing to repeat yet."""
    assert verdict(begun(retry), 3) is None


@pytest.mark.parametrize(
    ("retry", "started_before", "runs"),
    [
        ("never", False, False),
        ("never", True, False),
        ("if_not_started", False, True),
        ("if_not_started", True, False),
        ("always", False, True),
        ("always", True, True),
    ],
)
def test_a_second_attempt_runs_only_as_retry_allows(retry, started_before, runs):
    """Code that started runs again only where the publisher asked for it."""
    reason = verdict(begun(retry, attempt=2, started_before=started_before), 3)
    assert (reason is None) == runs
    assert runs or retry in reason


def test_past_the_attempt_limit_nothing_runs_whatever_retry_says():
    """Poison work ends."""
    reason = verdict(begun("always", attempt=4, over_limit=True), 3)
    assert reason is not None and "3 attempts" in reason


def test_a_deadline_is_passed_from_its_very_instant_on():
    """Not started by then is expired."""
    command = RunCode(language="py", code="1", deadline=NOW)
    assert is_expired(command, 0, NOW)
    assert not is_expired(command, 0, NOW - timedelta(microseconds=1))
    assert not is_expired(RunCode(language="py", code="1"), 0, NOW)


def test_what_started_in_time_does_not_expire_when_it_is_tried_again():
    """The deadline is for starting."""
    command = RunCode(language="py", code="1", deadline=NOW)
    assert not is_expired(command, 1, NOW + timedelta(hours=1))
