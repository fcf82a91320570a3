"""A program that waits for its tools outlives the edge that began it, and ends clearly with its handler."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nats_servers import NatsProcess
from tests.process.pair import Pair, StartPair, pairs
from tests.process.processes import wait_until

TOOLS = [{"name": "square", "parameters": {"type": "object", "properties": {"n": {}}}}]
CODE = """
import os
runs = len(os.listdir(".")) + 1
open(f"run-{runs}", "w").close()
many = await asyncio.gather(*(square(n=n) for n in range(3)))
print(runs, sum(many), await square(n=10))
"""


@pytest.fixture(params=["redis", "nats"])
def start_pair(
    request: pytest.FixtureRequest,
    start_broker: Callable[[], Any],
    own_nats: NatsProcess,
    tmp_path: Path,
    bubblewrap: None,
) -> Iterator[StartPair]:
    """Start pairs on one broker, whatever carries their messages; none is left at the end."""
    settings = {"REDIS_URL": start_broker().url, "MILLRACE_LEASE_SECONDS": "3"}
    if request.param == "nats":
        own_nats.start()
        settings |= {"MILLRACE_TRANSPORT": "nats", "NATS_URL": own_nats.url}
    with pairs(tmp_path, **settings) as start:
        yield start


def ask(pair: Pair, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    all_headers = {"x-api-key": "test-api-key", "content-type": "application/json", **headers}
    request = urllib.request.Request(pair.url + path, data, all_headers)
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def results_of(calls: list[dict[str, Any]], key: str = "call_id") -> list[dict[str, Any]]:
    return [{key: call["id"], "result": call["input"]["n"] ** 2} for call in calls]


def go_on(pair: Pair, told: dict[str, Any]) -> dict[str, Any]:
    assert told["status"] == "tool_call_required", told
    results = results_of(told["tool_calls"])
    body = {"continuation_token": told["continuation_token"], "tool_results": results}
    status, answer = ask(pair, "/exec/programmatic", body)
    assert status == 200, answer
    return answer


@pytest.mark.timeout(240)
def test_another_edge_goes_on_and_a_lost_handler_is_told(start_pair: StartPair) -> None:
    """Begun by one edge, which is killed; then every handler is."""
    first, second = start_pair(), start_pair()
    _, told = ask(first, "/exec/programmatic", {"code": CODE, "tools": TOOLS})
    first.kill("edge")
    told = go_on(second, told)
    assert [call["input"]["n"] for call in told["tool_calls"]] == [10]
    done = go_on(second, told)
    assert (done["status"], done["stdout"]) == ("completed", "1 5 100\n"), "it ran once, from top to end"

    _, told = ask(second, "/v1/exec/programmatic", {"code": CODE, "tools": TOOLS})
    first.kill("handlers")
    second.kill("handlers")
    start_pair()
    lost = go_on(second, told)
    assert (lost["status"], lost["error"]) == ("error", "Execution failed or timed out")
    assert "lost" in lost["stderr"]


@pytest.mark.timeout(240)
def test_the_native_way_is_the_same_and_variables_are_remembered(start_pair: StartPair) -> None:
    """Calls are events, results a request of their own, variables those of the session."""
    pair = start_pair()
    code = "nine = await square(n=3)"
    command = {"id": "one", "language": "py", "code": code, "session_id": "s", "tools": TOOLS}
    assert ask(pair, "/executions", command)[0] == 202
    calls: list[dict[str, Any]] = []

    def asked() -> bool:
        request = urllib.request.Request(
            f"{pair.url}/executions/one/events",
            headers={"x-api-key": "test-api-key", "accept": "application/x-ndjson"},
        )
        with urllib.request.urlopen(request, timeout=60) as lines:
            for line in lines:
                event = json.loads(line)
                if event["type"] == "tool_calls_requested":
                    calls.extend(event["calls"])
                    return True
        return False

    wait_until(asked, "the call", 60)
    body = {"results": results_of(calls)}
    assert ask(pair, "/executions/one/tool-results", body)[0] == 202
    _, done = ask(pair, "/executions/one", prefer="wait=60")
    assert (done["outcome"], done["exit_code"]) == ("exited", 0), done
    assert done["state"] == {**done["state"], "saved": True, "error": None}
    command = {"language": "py", "code": "print(nine, 'square' in globals())", "session_id": "s"}
    _, done = ask(pair, "/executions", command, prefer="wait=60")
    assert done["stdout"] == "9 False\n"
