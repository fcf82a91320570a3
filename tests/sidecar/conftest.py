"""Pairs of agent and sidecar, each for one run as a pod is."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from infra.errors import Misconfigured
from sandboxes.pod_programs import pod_programs
from tests.brokers import absent
from tests.sidecar.pair import Pair

StartPair = Callable[..., Pair]


@pytest.fixture(scope="session")
def programs() -> None:
    """Agent and sidecar, built."""
    if shutil.which("bwrap") is None:
        absent("bubblewrap is not installed")
    try:
        pod_programs()
    except Misconfigured as missing:
        absent(str(missing))


@pytest.fixture
def start_pair(programs: None) -> Iterator[StartPair]:
    """Start pairs of this test's own."""
    started: list[Pair] = []

    def start(prestart: Mapping[str, Any] | None = None) -> Pair:
        started.append(Pair(prestart))
        started[-1].start()
        return started[-1]

    try:
        yield start
    finally:
        for pair in started:
            pair.close()


@pytest.fixture
def pair(start_pair: StartPair) -> Pair:
    """One that has nothing waiting."""
    return start_pair()
