"""Supervisors run in a process of their own: they fork, and must not do so inside the test runner."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import brokers
from tests.process.processes import Scripted, Serve


@pytest.fixture
def bubblewrap() -> None:
    """Skip on a laptop that cannot isolate code; fail in CI."""
    if shutil.which("bwrap") is None:
        assert not os.environ.get("CI"), "bubblewrap must be there in CI"
        pytest.skip("bubblewrap is not installed")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Scripted]]:
    """Start scripts; whatever is left of them is killed at the end."""
    started: list[Scripted] = []

    def start(script: str) -> Scripted:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Scripted(script, folder))
        return started[-1]

    yield start
    for scripted in started:
        if scripted.process.poll() is None:
            scripted.process.kill()
            scripted.process.wait()


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    return brokers.free_port()


@pytest.fixture
def serve(tmp_path: Path, free_port: int) -> Iterator[Callable[..., Serve]]:
    """Start services in one folder with a space in its name; none is left at the end."""
    started: list[Serve] = []

    def start(**settings: str) -> Serve:
        started.append(Serve(tmp_path / "a folder", free_port, **settings))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.process.terminate()
            service.process.wait(timeout=60)
