"""A conversation goes on when every process that served it is gone: none of it was in their memory only."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conversation import Conversation
from tests.process.pair import Pair, StartPair, pairs

KEY = "test-api-key"


@pytest.fixture
def start_pair(start_broker, tmp_path: Path) -> Iterator[StartPair]:
    """Start pairs on one broker and one folder; none is left at the end."""
    with pairs(tmp_path, REDIS_URL=start_broker().url) as start:
        yield start


def talk(package: Path, pair: Pair) -> Conversation:
    client = Conversation(package, f"{pair.url}/v1")
    return client.begin(params={"authHeaders": {"X-API-Key": KEY}}, headers={"X-API-Key": KEY})


@pytest.mark.timeout(240)
def test_a_conversation_goes_on_over_other_processes(
    packages: dict[str, Path], start_pair: StartPair
) -> None:
    """The files it knows are all it takes along."""
    first = start_pair()
    before = talk(packages["D"], first)
    before.run("open('a.txt', 'w').write('one')")
    before.run("open('b.txt', 'w').write(open('a.txt').read() + ' two')")
    known = before.do("session")
    before.close()
    first.stop()

    second = start_pair()
    after = talk(packages["D"], second)
    for file in known["files"]:
        after.do("remember", session_id=known["session_id"], file=file)
    assert "one two" in after.run("print(open('b.txt').read())")["text"]
    [made] = [file for file in known["files"] if file["name"] == "b.txt"]
    link = f"/download/{made['storage_session_id']}/{made['id']}"
    assert after.do("download", url=link)["content"] == "one two"
    after.close()


@pytest.mark.timeout(240)
def test_two_edges_and_two_handlers_serve_one_conversation_in_turns(
    packages: dict[str, Path], start_pair: StartPair
) -> None:
    """Each call asks the other edge; whichever handler is free runs it."""
    clients = [talk(packages["D"], start_pair()) for _ in range(2)]
    for turn in range(6):
        asking, next_asking = clients[turn % 2], clients[(turn + 1) % 2]
        asking.run(f"open('log.txt', 'a').write('{turn} ')")
        known = asking.do("session")
        next_asking.begin(params={"authHeaders": {"X-API-Key": KEY}}, headers={"X-API-Key": KEY})
        for file in known["files"]:
            next_asking.do("remember", session_id=known["session_id"], file=file)
    assert "0 1 2 3 4 5" in clients[0].run("print(open('log.txt').read())")["text"]
    for client in clients:
        client.close()
