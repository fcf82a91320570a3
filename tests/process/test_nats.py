"""An edge and a handler of production on a real NATS: killed for real, exactly one outcome is left."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.nats_servers import NatsProcess
from tests.process.pair import Pair, StartPair, pairs
from tests.process.processes import wait_until

KEY = "test-api-key"


@pytest.fixture
def start_pair(
    own_nats: NatsProcess, start_broker: Callable[[], Any], tmp_path: Path, bubblewrap: None
) -> Iterator[StartPair]:
    """Start pairs on one NATS, with one Redis for everything else; none is left at the end."""
    own_nats.start()
    settings = {
        "MILLRACE_TRANSPORT": "nats",
        "NATS_URL": own_nats.url,
        "NATS_SUBJECT_PREFIX": "team.",
        "REDIS_URL": start_broker().url,
        "MILLRACE_LEASE_SECONDS": "3",
    }
    with pairs(tmp_path, **settings) as start:
        yield start


def ask(pair: Pair, path: str, body: object = None, **headers: str) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(pair.url + path, data, {"x-api-key": KEY, **named})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))


def publish(server: NatsProcess, subject: str, body: dict[str, Any]) -> None:
    """Publish as any backend does."""

    async def publish() -> None:
        client = await nats.connect(server.url)
        await client.publish(subject, json.dumps(body).encode())
        await client.close()

    asyncio.run(publish())


def results(server: NatsProcess) -> list[dict[str, Any]]:
    """Return every result there is."""

    async def read() -> list[dict[str, Any]]:
        client = await nats.connect(server.url)
        jetstream = client.jetstream()
        count = (await jetstream.stream_info("team_MILLRACE_RESULTS")).state.messages
        reader = await jetstream.subscribe("team.millrace.results", ordered_consumer=True)
        found = [json.loads((await reader.next_msg(timeout=20)).data) for _ in range(count)]
        await client.close()
        return found

    return asyncio.run(read())


@pytest.mark.timeout(240)
def test_a_handler_killed_in_the_middle_leaves_one_lost_and_all_that_was_said(
    own_nats: NatsProcess, start_pair: StartPair
) -> None:
    """What it ran is not run again; what waited is run by the next one; what outsiders published too."""
    first = start_pair()
    code = "import time\nprint('began', flush=True)\ntime.sleep(120)"
    ask(
        first,
        "/executions",
        {"id": "doomed", "language": "py", "code": code},
        content_type="application/json",
    )
    publish(own_nats, "team.millrace.requests", {"id": "bare", "language": "py", "code": "print(6 * 7)"})

    def known(name: str, what: str) -> str:
        try:
            return str(ask(first, f"/executions/{name}").get(what))
        except urllib.error.HTTPError:
            return ""  # nobody has begun it yet

    wait_until(lambda: known("doomed", "stdout") == "began\n", "its first output", 60)
    wait_until(lambda: known("bare", "status") == "finished", "the bare one", 60)
    handlers = first._processes[1]
    handlers.kill()
    handlers.wait()
    start_pair()
    lost = ask(first, "/executions/doomed", prefer="wait=60")
    assert (lost["status"], lost["outcome"], lost["stdout"]) == ("finished", "lost", "began\n")
    done = ask(
        first,
        "/executions",
        {"id": "next", "language": "py", "code": "print(1)"},
        content_type="application/json",
        prefer="wait=60",
    )
    assert done["stdout"] == "1\n"
    wait_until(lambda: len(results(own_nats)) >= 3, "the results", 60)
    outcomes = sorted((result["execution_id"], result["outcome"]) for result in results(own_nats))
    assert outcomes == [("bare", "exited"), ("doomed", "lost"), ("next", "exited")]


@pytest.mark.timeout(240)
def test_readiness_tells_that_nats_is_away_and_back(own_nats: NatsProcess, start_pair: StartPair) -> None:
    """No process claims to be well while it can do nothing, and none has to be started again."""
    pair = start_pair()
    own_nats.kill()
    wait_until(lambda: not pair._answers(), "the edge to say that it is not ready", 60)
    own_nats.start()
    wait_until(pair._answers, "the edge to be ready again", 60)
    done = ask(
        pair,
        "/executions",
        {"language": "py", "code": "print(1)"},
        content_type="application/json",
        prefer="wait=60",
    )
    assert done["stdout"] == "1\n"
