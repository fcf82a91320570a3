"""`API_RELOAD`: who works on Millrace sees each change at once."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.processes import ROOT, Serve, has_ended, wait_until

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the source that a test may change."""
    copy = tmp_path / "a checkout"
    copy.mkdir()
    for room in ("schemas", "infra", "streams", "sandboxes", "edge", "handlers", "commands"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "millrace.py", copy)
    return copy


@pytest.fixture
def reloading(serve: Callable[..., Serve], checkout: Path) -> Iterator[Serve]:
    """A service that is started again when the copy changes; it must leave nothing behind."""
    service = serve(API_RELOAD="true", PYTHONPATH=str(checkout)).ready()
    family = service.family()
    yield service
    family += service.family()
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(timeout=60) == 0
    assert [process for process in family if not has_ended(process)] == []


def test_a_changed_source_file_starts_it_anew(reloading: Serve, checkout: Path) -> None:
    """With what the file says now; a file that is no source changes nothing."""
    (checkout / "edge" / "notes.txt").write_text("no source")
    source = checkout / "infra" / "version.py"
    source.write_text(source.read_text().replace("0.1.0", "0.1.0+changed"))
    wait_until(lambda: "Millrace 0.1.0+changed listens" in reloading.said(), "the new greeting", 60)
    assert reloading.said().count("starting again") == 1
    assert "infra/version.py changed" in reloading.said()
    assert reloading.ask("/exec", {"lang": "py", "code": "print(6 * 7)"})["stdout"] == "42\n"


def test_a_mistake_is_waited_out(reloading: Serve, checkout: Path) -> None:
    """The next change mends it."""
    source = checkout / "edge" / "app.py"
    right = source.read_text()
    source.write_text("(")
    wait_until(lambda: "once a source file changes" in reloading.said(), "the end of the wrong one", 60)
    source.write_text(right)
    wait_until(lambda: reloading.said().count("Ctrl-C") == 2, "the second greeting", 60)


def test_a_killed_reloader_takes_everything_along(serve: Callable[..., Serve]) -> None:
    """No service is left that nobody started."""
    service = serve(API_RELOAD="true").ready()
    family = service.family()
    assert len(family) > 3
    psutil.Process(service.process.pid).kill()
    service.process.wait()
    wait_until(lambda: all(map(has_ended, family)), "the end of all of it")
