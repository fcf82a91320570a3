"""What a run came across: which steps, at which of them a process died, and which accidents really happened.

A seed that never reaches a step proves nothing about it, so `make sim` tells what its seeds reached, and a
test holds a handful of them to reaching everything.
"""

from collections import Counter
from collections.abc import Iterable

from streams.memory.steps import STEPS

EDGE_STEPS = ("submit: recorded", "submit: sent", "submit: answered", "send: mailed", "send: told")
"""Where an edge may die; a handler anywhere else."""
FAR = ("begin", "append", "finish", "renew", "release", "reject", "bury")
"""What crosses the network, and so can be late, or never come back."""
CROSSINGS = tuple(f"{call}: {way}" for call in FAR for way in ("sent", "answered"))
STORES = (
    *("state: asked", "state: loaded", "state: claimed", "state: sent", "state: saved"),
    *("sandbox: taken", "sandbox: run", "sandbox: closed"),
)
NEVER = {
    *("release: sent", "release: answered", "release: given back", "release: published"),
    *("reject: sent", "reject: answered", "reject: result told"),
}
"""What no handler does here: only one that is told to stop releases, and all requests can be read."""
HANDLER_STEPS = tuple(
    step for step in (*STEPS, *CROSSINGS, *STORES) if step not in NEVER and step not in EDGE_STEPS
)

CHANCES = (
    *("published twice", "published by hand", "edge asked again", "cancelled before it was published"),
    *("cancelled twice", "delivered again", "clock wrong by more than a lease", "killed", "paused"),
    *("lease lost", "parked", "state carried on", "begun over the limit", "held elsewhere", "ended before"),
    *("overdue", "overtaken on the way", "control came first", "started with its lease"),
)
"""What chance brings about; each is counted when it happened, not when it was drawn."""
SELDOM = ("state claimed meanwhile",)
"""A handler slept through its lease, and its code was done before that of whoever came next."""


class Coverage(Counter[str]):
    """Counts by name."""

    def table(self) -> Iterable[str]:
        """Yield lines for people."""
        yield f"crash points: {self._reached('died at ')} of {len(HANDLER_STEPS) + len(EDGE_STEPS)} died at"
        for step in (*EDGE_STEPS, *HANDLER_STEPS):
            yield f"  {step:24} reached {self[step]:>9,}   died there {self[f'died at {step}']:>7,}"
        yield "chances:"
        for name in (*CHANCES, *SELDOM):
            yield f"  {name:36} {self[name]:>9,}"
        yield "outcomes:"
        for name in sorted(name for name in self if name.startswith("outcome ")):
            yield f"  {name.removeprefix('outcome '):36} {self[name]:>9,}"

    def _reached(self, prefix: str) -> int:
        return sum(name.startswith(prefix) for name in self)
