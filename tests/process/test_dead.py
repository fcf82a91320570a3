"""`millrace dead` as an operator uses it: lists, shows, requeues, drops, and says what it will not do."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import BrokerProcess
from tests.process.processes import ROOT

pytestmark = pytest.mark.timeout(300)
"""Each command is a process of a second, of which a busy machine makes ten."""

BODY = json.dumps({"language": "py", "code": "print(1)", "id": "job-1"})
Dead = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def broker(start_broker: Callable[[], BrokerProcess]) -> BrokerProcess:
    return start_broker()


@pytest.fixture
def dead(broker: BrokerProcess, tmp_path: Path) -> Dead:
    """Run `millrace dead …` under a key prefix; the status is checked."""

    def run(*words: str, status: int = 0, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= {
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": broker.url,
            "REDIS_KEY_PREFIX": "p:",
            **settings,
        }
        done = subprocess.run(
            [sys.executable, "-m", "millrace", "dead", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def bury(broker: BrokerProcess, body: str, reason: str = "Attempts are used up.") -> str:
    """Put a dead letter where a handler would."""
    fields = {"data": body, "reason": reason, "stream": "p:millrace:requests", "entry": "1-0"}
    with broker.client() as client:
        return client.xadd("p:millrace:dead", fields | {"time": "2026-11-28T10:00:00Z"}).decode()


def test_letters_are_listed_and_shown_for_people_and_programs(broker: BrokerProcess, dead: Dead) -> None:
    assert "no dead letters" in dead("list").stdout
    assert json.loads(dead("list", "--json").stdout) == []
    letter = bury(broker, BODY)
    hostile = bury(broker, "\x1b[2J[red]", "\x1b]0;owned\x07")
    assert letter in dead("list").stdout
    listed = json.loads(dead("list", "--json").stdout)
    assert listed[0] == {
        "letter": letter,
        "time": "2026-11-28T10:00:00Z",
        "execution_id": "job-1",
        "reason": "Attempts are used up.",
        "stream": "p:millrace:requests",
        "entry": "1-0",
        "data_bytes": len(BODY),
    }
    assert [one["letter"] for one in json.loads(dead("list", "--json", "--after", letter).stdout)] == [
        hostile
    ]
    assert BODY in dead("show", letter).stdout
    assert dead("show", letter, "--data").stdout == BODY
    assert json.loads(dead("show", letter, "--json").stdout)["data"] == BODY
    for words in (("list",), ("show", hostile)):
        assert "\x1b" not in dead(*words).stdout


def test_a_letter_is_requeued_once_and_then_gone(broker: BrokerProcess, dead: Dead) -> None:
    letter = bury(broker, BODY)
    assert "job-1 is queued" in dead("requeue", letter).stdout
    with broker.client() as client:
        [(_, fields)] = client.xrange("p:millrace:requests")
        assert json.loads(fields[b"data"])["id"] == "job-1"
    again = bury(broker, BODY)
    assert "still queued" in dead("requeue", again, status=1).stderr
    answer = json.loads(dead("requeue", again, "--as", "job-2", "--json").stdout)
    assert answer == {"letter": again, "execution_id": "job-2"}
    assert "no dead letters" in dead("list").stdout


def test_letters_are_dropped_by_name_or_all(broker: BrokerProcess, dead: Dead) -> None:
    one, _, _ = [bury(broker, BODY) for _ in range(3)]
    assert "1 dropped" in dead("drop", one).stdout
    assert f"no dead letter {one!r}" in dead("drop", one, status=1).stderr
    dead("drop", status=2)
    dead("drop", one, "--all", status=2)
    assert len(json.loads(dead("drop", "--all", "--json").stdout)["dropped"]) == 2
    assert json.loads(dead("list", "--json").stdout) == []


def test_what_cannot_be_done_is_a_sentence(broker: BrokerProcess, dead: Dead) -> None:
    broken = bury(broker, "{")
    assert "not valid JSON" in dead("requeue", broken, status=1).stderr
    assert "no dead letter '1-1'" in dead("show", "1-1", status=1).stderr
    away = dead("list", status=1, REDIS_URL="redis://127.0.0.1:1")
    assert away.stderr == "millrace: Redis at redis://127.0.0.1:1 cannot be reached\n"
