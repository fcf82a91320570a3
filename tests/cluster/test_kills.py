"""kill -9 at every step between two outside effects, on real pods: no doubtful outcome, and nothing left.

One service with two handlers and two pools lives through all of it; who died is started again. A case arms
the point at which somebody is killed (see `tests.cluster.doomed`) and has code run that comes there.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from infra.cluster import api
from infra.cluster.programs import Programs
from tests.brokers import BrokerProcess, until
from tests.cluster import doomed
from tests.cluster.conftest import HaveImages
from tests.cluster.images import image_name
from tests.cluster.kubernetes import Cluster
from tests.cluster.service import PATIENCE_S, Service, serving
from tests.helm.conftest import helm

__all__ = ["helm"]
pytestmark = [pytest.mark.cluster("pods"), pytest.mark.timeout(300)]
POOL = 3
SAYS = {"py": "print('on', flush=True)", "js": "console.log('on')"}
ORPHANED = "after its start is written"
WAITS = "print('on', flush=True)\nprint('got', input())"
"""For what may only happen before it ends."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Who is killed, when in whose work, and what must become of the execution."""

    victim: Literal["itself", "kube-apiserver", "kubelet"] = "itself"
    at: Literal["handlers", "pool"]
    point: str
    retry: str = "if_not_started"
    language: str = "py"
    code: str = ""
    orphan: bool = False
    """Its handler dies as well, so that its pod is the pool's to delete."""
    outcome: str = "exited"
    attempt: int | None = 1
    said: tuple[str, ...] = ("on\n",)

    def __str__(self) -> str:
        one = {"handlers": "a handler", "pool": "the pool"}[self.at]
        killed = f"{one} is killed {self.point}"
        if self.victim != "itself":
            killed = f"the {self.victim} is killed {self.point} for {one}"
        kind = f" and retry is {self.retry}" if self.retry != "if_not_started" else ""
        return f"{killed}{kind}: {self.outcome}"


def handlers() -> Iterator[Kill]:
    """Each step of a handler, with what `retry` makes of it."""
    yield Kill(at="handlers", point="before the lease is taken")
    not_started = {"attempt": 2}
    for step in ("the register gives a pod", "the pod takes it"):
        for where in ("before", "after"):
            yield Kill(at="handlers", point=f"{where} {step}", **not_started)
    yield Kill(at="handlers", point="before its start is written", **not_started)
    never: dict[str, Any] = {"retry": "never", "outcome": "lost", "attempt": None, "said": ("",)}
    yield Kill(at="handlers", point="after the pod takes it", **never)

    lost: dict[str, Any] = {"outcome": "lost", "attempt": 1}
    for point in ("after its start is written", "before the pod runs it", "after the pod runs it"):
        yield Kill(at="handlers", point=point, said=("",), **lost)
    yield Kill(at="handlers", point="before its output is written", code=WAITS, said=("",), **lost)
    yield Kill(at="handlers", point="after its output is written", code=WAITS, **lost)
    for point in ("before its files are listed", "before its end is written"):
        yield Kill(at="handlers", point=point, said=("", "on\n"), **lost)
    again: dict[str, Any] = {"retry": "always", "attempt": 2}
    yield Kill(at="handlers", point="after its start is written", **again)
    yield Kill(at="handlers", point="before its end is written", said=("on\n", "on\non\n"), **again)

    for point in (
        "after its end is written",
        "before the pod is marked as spent",
        "before a pod is deleted",
        "after a pod is deleted",
    ):
        yield Kill(at="handlers", point=point)
    for point in ("before a Job is created", "after a Job is created"):
        yield Kill(at="handlers", point=point, language="js", attempt=2)
    for point in ("before a Job is deleted", "after a Job is deleted"):
        yield Kill(at="handlers", point=point, language="js")


def pools() -> Iterator[Kill]:
    """Each step of the pool: executions notice nothing."""
    for step in ("a pod is created", "a pod is registered", "a pod is forgotten"):
        for where in ("before", "after"):
            yield Kill(at="pool", point=f"{where} {step}")
    orphan: dict[str, Any] = {"orphan": True, "outcome": "lost", "said": ("",)}
    for point in ("before a pod is withdrawn", "before a pod is deleted", "after a pod is deleted"):
        yield Kill(at="pool", point=point, **orphan)
    yield Kill(at="pool", point="after the lease is renewed")
    yield Kill(at="pool", point="before a Job is deleted", language="js", **orphan)


def cluster_itself() -> Iterator[Kill]:
    """The API server and the kubelet die under both."""
    for point in ("before the register gives a pod", "after its start is written", "before a pod is deleted"):
        yield Kill(victim="kube-apiserver", at="handlers", point=point)
    for point in ("before a Job is created", "after a Job is created", "before a Job is deleted"):
        yield Kill(victim="kube-apiserver", at="handlers", point=point, language="js")
    for point in ("before a pod is created", "after a pod is created", "before the lease is renewed"):
        yield Kill(victim="kube-apiserver", at="pool", point=point)
    orphan: dict[str, Any] = {"orphan": True, "outcome": "lost", "said": ("",)}
    yield Kill(victim="kube-apiserver", at="pool", point="before a pod is deleted", **orphan)
    yield Kill(victim="kubelet", at="pool", point="after a pod is created")
    yield Kill(victim="kubelet", at="handlers", point="before a pod is deleted")


class Doomed(Service):
    """A service whose processes can be killed at a point."""

    program = "tests.cluster.doomed"
    NAMES = ("pool-1", "pool-2", "handlers-1", "handlers-2", "edge")

    def begin(self) -> None:
        for component in ("pool", "handlers", "edge"):
            (self.dooms / component).mkdir(parents=True)
        super().begin()

    @property
    def dooms(self) -> Path:
        return Path(self._settings[doomed.VARIABLE])

    def arm(self, at: str, point: str, victim: int | None = None) -> Path:
        """Have a point struck at; returns the file that is gone when it was."""
        armed = self.dooms / f"{at}.new"
        armed.write_text(str(victim or ""))
        return armed.rename(self.dooms / at / point)

    def disarm(self) -> None:
        for file in self.dooms.glob("*/*"):
            file.unlink(missing_ok=True)

    def revive(self) -> None:
        """Start again whoever has died."""
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                self.start(name)

    def until_one_died(self, at: str) -> None:
        mine = [process for name, process in self.running.items() if name.startswith(at)]
        until(lambda: any(process.poll() is not None for process in mine), f"one of {at} to die", PATIENCE_S)

    def names_in(self, file: str) -> Counter[str]:
        return Counter((self.dooms / file).read_text().split())


@pytest.fixture(scope="module")
def running(
    cluster: Cluster,
    helm: str,
    have_images: HaveImages,
    redis_server: BrokerProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Doomed]:
    have_images("sidecar", "py", "js")
    folder = tmp_path_factory.mktemp("service")
    settings = {
        "POD_POOL_PY": str(POOL),
        "LANG_IMAGE_JS": image_name("js"),
        "MILLRACE_LEASE_SECONDS": "3",
        doomed.VARIABLE: str(folder / "dooms"),
    }
    with serving(Doomed, cluster, helm, redis_server.url, folder, **settings) as made:
        made.until_full(POOL)
        yield made


@pytest.fixture
def service(running: Doomed) -> Iterator[Doomed]:
    """The service with a pod that waits, or with what it said when something went wrong."""
    until(lambda: bool(running.waiting()), "a pod that waits", PATIENCE_S)
    try:
        yield running
    except BaseException:
        print(running.logs())
        raise
    finally:
        running.disarm()
        running.revive()


@pytest.mark.parametrize("kill", [*handlers(), *pools(), *cluster_itself()], ids=str)
def test_when(service: Doomed, kill: Kill) -> None:
    programs = Programs(service.cluster.home)
    victim = None if kill.victim == "itself" else programs.pid(kill.victim)
    armed = service.arm(kill.at, kill.point, victim)
    if kill.orphan:
        service.arm("handlers", ORPHANED)

    execution = service.submit(kill.code or SAYS[kill.language], language=kill.language, retry=kill.retry)
    if kill.orphan:
        service.until_one_died("handlers")
        service.revive()
    until(lambda: not armed.exists(), f"{kill.at} to come to it", PATIENCE_S)
    if victim is None:
        service.until_one_died(kill.at)
        service.revive()
    else:
        until(lambda: not programs.is_running(kill.victim), f"{kill.victim} to die", PATIENCE_S)
        programs.revive(kill.victim)

    view = service.until_finished(execution)
    until(lambda: _is_up(service.cluster), "the API server", PATIENCE_S)
    assert view["outcome"] == kill.outcome, view
    assert view["stdout"] in kill.said, view
    assert kill.attempt in (None, view["attempt"]), view
    events = service.events(execution)
    assert [event["type"] for event in events].count("finished") == 1, events
    assert events[-1]["type"] == "finished"
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def _is_up(cluster: Cluster) -> bool:
    with suppress(OSError):
        return api.is_ready(cluster.home)
    return False


def test_afterwards_only_the_pool_is_left_and_no_pod_was_anybodys_twice(service: Doomed) -> None:
    service.until_full(POOL)
    for file in (doomed.CLAIMED, doomed.ENTERED):
        assert set(service.names_in(file).values()) == {1}, service.names_in(file)
