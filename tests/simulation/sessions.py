"""What must hold of sessions: turns in the order of publication, one at a time, and no state forgotten."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from schemas.events import AnyEvent, Finished, Output, Started
from tests.simulation.fairness import WatchedBroker
from tests.simulation.plan import Job
from tests.simulation.states import Owner, SharedStates

Logs = Mapping[str, Sequence[AnyEvent]]


def check_sessions(jobs: Sequence[Job], broker: WatchedBroker, logs: Logs, states: SharedStates) -> None:
    """Look at every session. Raises AssertionError."""
    sessions: dict[Owner, list[str]] = defaultdict(list)
    for job in jobs:
        if job.session:
            sessions[job.session].append(job.command.id or "")
    for owner, members in sessions.items():
        in_turn = _check_turns(members, broker)
        _check_order(in_turn, broker)
        _check_states(in_turn, logs, states.writers(owner))
        _check_savers(members, broker, zip(states.writers(owner), states.saved_at[owner], strict=True))
    assert not states.replaced, f"{states.replaced[0]} held the claim, and another state was there"


def _check_turns(members: Sequence[str], broker: WatchedBroker) -> list[str]:
    """Check that nobody started before who started earlier had ended; return who started, in order."""
    at_work, in_turn = "", []
    for name, happened in broker.history:
        if name not in members:
            continue
        if happened == "running":
            assert not at_work, f"{name} started in the turn of {at_work}"
            at_work = name
            in_turn.append(name)
        elif name == at_work:
            at_work = ""
    return in_turn


def _check_order(in_turn: Sequence[str], broker: WatchedBroker) -> None:
    for earlier, later in pairwise(in_turn):
        before, after = broker.published_first[earlier], broker.published_first[later]
        assert before < after, f"{earlier} had its turn before {later}, which was published first"


def _check_states(in_turn: Sequence[str], logs: Logs, writers: Sequence[str]) -> None:
    """Check that everybody was given what was saved last before, or something newer."""
    newest = -1
    for name in in_turn:
        finished = logs[name][-1]
        assert isinstance(finished, Finished)
        found, whole, _ = output_of(logs[name]).partition(b"\n")
        if whole:
            version = _last(writers, found.decode()) if found else -1
            assert version >= newest, f"{name} found the variables of {found!r}, newer ones were saved before"
        if finished.state.saved:
            assert name in writers, f"{name} said that its variables were saved"
            newest = _last(writers, name)


def _check_savers(members: Sequence[str], broker: WatchedBroker, saves: Iterable[tuple[str, int]]) -> None:
    """Check that nobody saved who had ended, or after whoever came next had started."""
    for name, at in saves:
        before = [entry for entry in broker.history[:at] if entry[0] in members]
        assert (name, "finished") not in before, f"{name} saved variables after its end"
        started = [who for who, happened in before if happened == "running"]
        assert started[-1:] == [name], f"{name} saved variables in the turn of {started[-1:]}"


def output_of(events: Sequence[AnyEvent]) -> bytes:
    """Return what the attempt that counts has said."""
    last_start = max((event.seq for event in events if isinstance(event, Started)), default=0)
    return b"".join(event.raw() for event in events[last_start:] if isinstance(event, Output))


def _last(writers: Sequence[str], name: str) -> int:
    return max(place for place, writer in enumerate(writers) if writer == name)
