"""Turns: executions of one session run one at a time, in the order in which they were published.

Every session that is shared has a *line*: the executions that may want their turn, by *place*, which is
the id of the entry they were published under. Whoever is first in line has the turn; everybody else is
*parked*: the request is kept beside its record and the entry acknowledged, so that waiting costs no slot,
no sandbox and no redelivery. When an execution finishes it leaves the line, and the next one, if it is
parked, is *woken*: published on the requests once more.

Order is that of publication, whoever begins first: `begin` puts into the line not only its own execution
but everything of the session that stands before it on the requests and is not acknowledged. An entry that
another handler was handed and died with is among them.

Crashes, step by step. Being woken twice, or woken and still pending, is harmless: `begin` knows repeats by
id. What could be lost is a wake, and every way to lose one is found again by looking:

| dies between | then |
|---|---|
| joining the line, and the lease or the park | the entry is pending still, and is reclaimed |
| keeping the request, and acknowledging its entry | likewise; the second park replaces the first |
| the holder's start and its end | its entry is pending still; whoever reclaims it ends it or runs it again |
| the holder's end, and waking the next | every handler looks at parked requests now and then |
| publishing again, and forgetting that it was parked | it is looked at, and woken once more |

Looking (`heartbeat_s` after a request was parked, and again) also wakes what was cancelled or what nobody
may start any more, and takes those out of the line that nobody will ever finish: whose entry is gone from
the requests, by an operator's hand or a flushed broker.

An execution named like its session opens that session, as every `POST /exec` does: nobody was there before,
so it waits for nobody and asks nobody. Others wait for it.
"""

from schemas.commands import RunCode
from schemas.ids import ExecutionId, SessionId, TenantId

Line = tuple[TenantId, SessionId]
"""A session as its owner knows it: tenants never wait for each other."""

_ENTRIES_PER_MS = 1000


def line_of(command: RunCode) -> Line | None:
    """Return the line of an execution; None if it belongs to no session."""
    return None if command.session_id is None else (command.tenant, command.session_id)


def must_ask(command: RunCode) -> bool:
    """Whether others may be in line before this execution."""
    return command.session_id is not None and str(command.session_id) != str(command.id)


def place_of(entry: str) -> int:
    """Return the place in a line of what was published as `entry`; the same as `place` in line.lua."""
    ms, _, number = entry.partition("-")
    return int(ms) * _ENTRIES_PER_MS + min(int(number), _ENTRIES_PER_MS - 1)


def entry_at(place: int) -> str:
    """Return the entry that stands at `place`."""
    ms, number = divmod(place, _ENTRIES_PER_MS)
    return f"{ms}-{number}"


def id_of_entry(entry: str) -> ExecutionId:
    """Return the id of an execution published without one: the same on every redelivery of its entry."""
    return ExecutionId(f"entry-{entry}")
