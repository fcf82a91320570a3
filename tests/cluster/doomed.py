"""Runs `millrace handlers` or `millrace pool` as they are, but strikes at points that a test arms meanwhile.

A file of the point's name arms it; it holds the process id of whom to kill, or nothing for the process that
comes there. The first to come takes the file, so each strikes once. As in `tests.chaos.doomed`, points are
methods that are wrapped from outside: nothing of this is in what is shipped.
"""

import functools
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from tests.chaos.doomed import Reaper, append_point

VARIABLE = "_DOOMS"
"""The folder with one of these files' folders for each component."""
CLAIMED, ENTERED = "claimed", "entered"
"""Files there: the pods that the register gave away, and those that took whoever came."""


class Armed(Reaper):
    """Strikes at what is armed when it is reached."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reach(self, point: str) -> None:
        file = self._folder / point
        try:
            victim = int(file.read_text() or os.getpid())
            file.unlink()
        except FileNotFoundError:
            return
        os.write(2, f"doomed: {victim} is killed {point}\n".encode())
        os.kill(victim, signal.SIGKILL)


def prepare(folder: Path, component: str) -> None:
    """Wrap all points, and have the dead missed sooner."""
    from sandboxes.kubernetes.api import KubernetesApi
    from sandboxes.kubernetes.claims import Claims
    from sandboxes.kubernetes.sandboxes import KubernetesSandboxes
    from sandboxes.kubernetes.sidecar import Sidecar
    from streams.redis import RedisTransport

    _record(Claims, "claim", folder / CLAIMED, lambda _words, taken: taken[0] if taken else "")
    _record(KubernetesSandboxes, "_enter", folder / ENTERED, lambda words, _sandbox: words[0])
    reaper = Armed(folder / component)
    for owner, points in {
        RedisTransport: {"begin": "the lease is taken", "append": _appended, "finish": "its end is written"},
        Claims: {
            "claim": "the register gives a pod",
            "spend": "the pod is marked as spent",
            "register": "a pod is registered",
            "withdraw": "a pod is withdrawn",
            "forget": "a pod is forgotten",
        },
        Sidecar: {"claim": "the pod takes it", "changes": "its files are listed"},
        KubernetesApi: {
            "create": lambda _api, path, _body: f"{_ONE[path]} is created",
            "delete": lambda _api, path, _name, **_more: f"{_ONE[path]} is deleted",
            "replace": "the lease is renewed",
        },
    }.items():
        for method, point in points.items():
            reaper.wrap(owner, method, point if callable(point) else _always(point))
    _wrap_run(Sidecar, reaper)
    _hurry()


_ONE: Mapping[str, str] = {"pods": "a pod", "jobs": "a Job", "events": "an event", "leases": "a lease"}


def _always(point: str) -> Any:
    return lambda *_words, **_named: point


def _appended(*words: Any) -> str:
    return {"append started": "its start is written", "append output": "its output is written"}[
        append_point(*words)
    ]


def _wrap_run(sidecar: Any, reaper: Reaper) -> None:
    really = sidecar.run

    async def run(self: Any, *words: Any) -> AsyncGenerator[Any, None]:
        reaper.reach("before the pod runs it")
        first = True
        async for frame in really(self, *words):
            if first:
                reaper.reach("after the pod runs it")
            first = False
            yield frame

    sidecar.run = run


def _record(owner: Any, method: str, file: Path, name: Any) -> None:
    """Note names in a file, each with one write, so that several processes may."""
    really = getattr(owner, method)

    @functools.wraps(really)
    async def wrapped(self: Any, *words: Any, **named: Any) -> Any:
        answer = await really(self, *words, **named)
        if line := name(words, answer):
            with file.open("ab", buffering=0) as notes:
                notes.write(f"{line}\n".encode())
        return answer

    setattr(owner, method, wrapped)


def _hurry() -> None:
    """A third of the time until somebody is missed."""
    from sandboxes.kubernetes import claims, holders, job_sweep, pool, sandboxes
    from sandboxes.kubernetes.lease import Lease, LeaseTerms

    sandboxes.HOLD_EVERY_S, claims.HOLDER_TTL_S, holders._MISSING_S = 1.0, 4, 2.0
    job_sweep._EVERY_S = 1.0
    pool.Lease = functools.partial(Lease, terms=LeaseTerms(lasts_s=4, give_up_s=3.0, renew_s=0.7))


def main() -> None:
    prepare(Path(os.environ[VARIABLE]), sys.argv[1])
    import millrace

    sys.argv = ["millrace", *sys.argv[1:]]
    millrace.main()


if __name__ == "__main__":
    main()
