"""Variables of a session outlive every process that ever held them, and Redis too once they are archived."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.process.pair import Pair, StartPair, pairs
from tests.process.processes import wait_until

KEY = "test-api-key"
SESSION = "a-conversation"


@pytest.fixture
def broker(start_broker: Callable[[], object]) -> object:
    return start_broker()


@pytest.fixture
def start_pair(broker: object, tmp_path: Path, bubblewrap: None) -> Iterator[StartPair]:
    """Start pairs on one broker and one folder; none is left at the end."""
    with pairs(tmp_path, REDIS_URL=broker.url) as start:
        yield start


def ask(pair: Pair, path: str, body: object = None, **headers: str) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(pair.url + path, data, {"x-api-key": KEY, **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def run(pair: Pair, code: str) -> str:
    """Run code in the session; return what it printed."""
    command = {"language": "py", "code": code, "session_id": SESSION}
    done = ask(pair, "/executions", command, prefer="wait=60", **{"content-type": "application/json"})
    assert (done["outcome"], done["exit_code"]) == ("exited", 0), done
    assert done["state"]["saved"], done
    return done["stdout"]


@pytest.mark.timeout(240)
def test_two_edges_and_two_handlers_share_the_variables_in_turns_and_others_after_them(
    start_pair: StartPair,
) -> None:
    """Killed all at once, they leave everything to whoever comes next."""
    pairs = [start_pair(), start_pair()]
    run(pairs[0], "class Log:\n    def __init__(self): self.seen = []\nlog = Log()")
    for turn in range(4):
        run(pairs[turn % 2], f"log.seen.append({turn})")
    for pair in pairs:
        pair.kill()
    assert run(start_pair(), "print(log.seen)") == "[0, 1, 2, 3]\n"


@pytest.mark.timeout(240)
def test_archived_variables_survive_the_loss_of_redis_and_end_with_their_session(
    broker: object, start_pair: StartPair
) -> None:
    quick = {"STATE_ARCHIVE_AFTER_SECONDS": "1", "STATE_ARCHIVE_CHECK_INTERVAL_SECONDS": "1"}
    first = start_pair(**quick)
    run(first, "answer = {'to': 'everything', 'is': 42}")
    wait_until(lambda: ask(first, f"/state/{SESSION}/info")["tier"] == "archived", "the archive", 30)
    first.kill()
    redis.Redis.from_url(broker.url).flushall()
    second = start_pair()
    assert run(second, "print(answer['is'])") == "42\n"
    assert ask(second, f"/state/{SESSION}/info")["tier"] == "hot"
    place = f"{second.url}/sessions/{SESSION}"
    request = urllib.request.Request(place, headers={"x-api-key": KEY}, method="DELETE")
    assert urllib.request.urlopen(request, timeout=30).status == 204
    wait_until(lambda: is_forgotten(second), "the state to go with its session", 30)
    assert run(second, "print('answer' in globals())") == "False\n"


@pytest.mark.timeout(240)
def test_exec_goes_on_with_the_session_it_is_given_and_remembers(start_pair: StartPair) -> None:
    """Through another edge and another handler; and the native routes see the same variables."""
    pairs = [start_pair(), start_pair()]
    session = "S" * 21
    json_type = {"content-type": "application/json"}
    for number, code in enumerate(("x = 41", "x += 1", "print(x)")):
        body = {"lang": "py", "code": code, "session_id": session}
        told = ask(pairs[number % 2], "/v1/exec", body, **json_type)
        assert (told["session_id"], told["stderr"]) == (session, "")
    assert told["stdout"] == "42\n"
    alone = ask(pairs[0], "/v1/exec", {"lang": "py", "code": "print('x' in globals())"}, **json_type)
    assert (alone["stdout"], len(alone["session_id"])) == ("False\n", 21)
    command = {"language": "py", "code": "print(x)", "session_id": session}
    native = ask(pairs[1], "/executions", command, prefer="wait=60", **json_type)
    assert native["stdout"] == "42\n"


@pytest.mark.timeout(240)
def test_a_plain_exec_leaves_its_variables_where_the_operator_wants_it(start_pair: StartPair) -> None:
    """Its answer names the session to go on with."""
    pair = start_pair(MILLRACE_EXEC_STATE="true")
    json_type = {"content-type": "application/json"}
    first = ask(pair, "/exec", {"lang": "py", "code": "x = [41]\nprint(1)"}, **json_type)
    assert (first["stdout"], first["stderr"]) == ("1\n", "")
    going_on = {"lang": "py", "code": "print(x[0] + 1)", "session_id": first["session_id"]}
    assert ask(pair, "/exec", going_on, **json_type)["stdout"] == "42\n"


def is_forgotten(pair: Pair) -> bool:
    try:
        ask(pair, f"/state/{SESSION}/info")
    except urllib.error.HTTPError as refused:
        return refused.code == 404
    return False
