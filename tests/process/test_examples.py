"""The examples that the README points to run as they stand against a service."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.processes import Serve

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(serve: Callable[..., Serve], bubblewrap: None) -> Callable[..., str]:
    """Run a command of `examples/` against a service; return what it printed."""
    service = serve().ready()
    environment = {
        **os.environ,
        "MILLRACE_URL": service.url,
        "MILLRACE_KEY": "test-api-key",
        "REDIS_URL": re.findall(r"unix://[^\s\",]+", service.said())[0],
    }

    def run(*command: str) -> str:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    return run


def test_the_three_ways_in_work_as_they_are_shown(run: Callable[..., str]) -> None:
    """Ask and wait, ask and watch, publish."""
    answer = json.loads(run("sh", "examples/ask.sh"))
    assert (answer["stdout"], answer["code"]) == ("42\n", 0)

    watched = run("sh", "examples/watch.sh")
    data = [json.loads(line[6:]) for line in watched.splitlines() if line.startswith("data: ")]
    assert "".join(event["data"] for event in data if event["type"] == "output") == "line 1\nline 2\nline 3\n"
    assert data[-1]["type"] == "finished"

    published = run(sys.executable, "examples/streams/publish.py").splitlines()
    assert published[0] == "1 queued"
    assert published[-1].endswith("finished exited")
    assert "line 2" in "\n".join(published)


def test_a_session_remembers_as_docs_sessions_says(run: Callable[..., str]) -> None:
    """Defined, used, copied, spoilt, and put back."""
    assert run(sys.executable, "examples/session.py").splitlines() == [
        "note: Not saved: lines (cannot pickle 'generator' object).",
        "Account(owner='Ada', balance=70)",
        "Account(owner='Ada', balance=100)",
    ]


def test_tools_are_called_as_docs_tools_says(run: Callable[..., str]) -> None:
    """Natively and as a front end; one call fails, and the code goes on."""
    said = ["Ulm: 21 degrees", "Oslo: 12 degrees", "There is no Atlantis."]
    printed = run(sys.executable, "examples/tools.py").splitlines()
    assert printed == ["natively:", *said, "as a front end:", *said]
