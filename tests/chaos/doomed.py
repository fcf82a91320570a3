"""Runs `millrace edge` or `millrace handlers` as they are, but dies at a point it was told to die at.

Nothing of this is in what is shipped: the points are methods of the rooms, wrapped here before the process
begins. `python -m tests.chaos.doomed handlers` with a doom in the environment; see `Doom`.
"""

import functools
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VARIABLE = "_CHAOS_DOOM"
TRANSPORTS = {
    "redis": ("streams.redis", "RedisTransport"),
    "nats": ("streams.jetstream", "JetStreamTransport"),
}


@dataclass(frozen=True)
class Doom:
    """At which point, the how-manieth time, a process dies (`kill`) or falls asleep (`stop`); '' is never."""

    point: str = ""
    nth: int = 1
    how: str = "kill"
    fault: str = ""
    """One of `FAULTS`, which breaks a promise on purpose."""

    def environment(self) -> dict[str, str]:
        """Return it as a process is told."""
        return {VARIABLE: json.dumps(asdict(self))}


_TRANSPORT = ("begin", "append", "finish", "renew", "release", "submit", "send")
HANDLER_POINTS = [
    f"{where} {method}"
    for method in (
        "begin",
        "append started",
        "append output",
        "finish",
        "renew",
        "acquire",
        "changes",
        "close",
    )
    for where in ("before", "after")
]
"""Where handlers die. `release` is reached by those that are asked to stop."""
EDGE_POINTS = [f"{where} {method}" for method in ("submit", "send") for where in ("before", "after")]


class Reaper:
    """Counts how often points are reached, and strikes at the one that is meant."""

    def __init__(self, doom: Doom) -> None:
        self._doom = doom
        self._left = doom.nth

    def reach(self, point: str) -> None:
        if point == self._doom.point:
            self._left -= 1
            if self._left == 0:
                # The runner reads this: the last words of a process that cannot say anything more.
                os.write(2, f"doomed: {self._doom.how} at {point}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL if self._doom.how == "kill" else signal.SIGSTOP)

    def wrap(self, owner: Any, method: str, name: Callable[..., str] | None = None) -> None:
        """Reach a point before and after an async method of a class."""
        really = getattr(owner, method)

        @functools.wraps(really)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            point = name(*args) if name else method
            self.reach(f"before {point}")
            answer = await really(*args, **kwargs)
            self.reach(f"after {point}")
            return answer

        setattr(owner, method, wrapped)


def append_point(_self: Any, _lease: Any, events: Any) -> str:
    from schemas.events import Started

    return "append started" if any(isinstance(event, Started) for event in events) else "append output"


def prepare(doom: Doom) -> None:
    """Wrap all points, and break what is to be broken."""
    module, name = TRANSPORTS[os.environ.get("MILLRACE_TRANSPORT") or "redis"]
    transport = getattr(importlib.import_module(module), name)
    reaper = Reaper(doom)
    for method in _TRANSPORT:
        reaper.wrap(transport, method, append_point if method == "append" else None)
    _tell_when_up(transport)
    if doom.point in HANDLER_POINTS:
        from sandboxes.local.sandbox import LocalSandbox
        from sandboxes.local.sandboxes import LocalSandboxes

        reaper.wrap(LocalSandboxes, "acquire")
        reaper.wrap(LocalSandbox, "changes")
        reaper.wrap(LocalSandbox, "close")
    if doom.fault:
        FAULTS[doom.fault](transport)


def _tell_when_up(transport: Any) -> None:
    """Leave a file when the process begins to work: what it is to live through counts from there."""
    really = transport.start

    async def start(self: Any) -> None:
        await really(self)
        Path(up_file(os.getpid())).touch()  # noqa: ASYNC240

    transport.start = start


def up_file(pid: int) -> str:
    """Return the name of that file, in the folder of the crew."""
    return f"up-{pid}"


def _forget_started(transport: Any) -> None:
    """Take every execution for one that never started: started code runs again."""
    from dataclasses import replace

    from streams.protocol import Begun

    really = transport.begin

    async def begin(self: Any, *args: Any) -> Any:
        outcome = await really(self, *args)
        return replace(outcome, started_before=False) if isinstance(outcome, Begun) else outcome

    transport.begin = begin


def _acknowledge_first(transport: Any) -> None:
    """Take the entry off the requests before anything is done."""
    really = transport.begin

    async def begin(self: Any, delivery: Any, *args: Any) -> Any:
        await self._acknowledge(delivery)
        return await really(self, delivery, *args)

    transport.begin = begin


def _double_output(transport: Any) -> None:
    """Write output twice."""
    from msgspec.structs import replace

    from schemas.events import Output

    really = transport.append

    async def append(self: Any, lease: Any, events: Any) -> None:
        await really(self, lease, events)
        again = [event for event in events if isinstance(event, Output)]
        await really(self, lease, [replace(one, seq=lease.seq + place) for place, one in enumerate(again, 1)])

    transport.append = append


FAULTS = {"started": _forget_started, "acknowledge": _acknowledge_first, "double": _double_output}


def main() -> None:
    prepare(Doom(**json.loads(os.environ[VARIABLE])))
    import millrace

    sys.argv = ["millrace", *sys.argv[1:]]
    millrace.main()


if __name__ == "__main__":
    main()
