"""System calls in a row: the machine instructions and ctypes do the same with the same table."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sandboxes.guest import row
from sandboxes.guest.row import Row, Slot

_HERE = -100


@pytest.fixture(params=["as this machine does it", "by ctypes"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Carry out rows as this machine does, then as those do that have no instructions of ours."""
    if request.param == "by ctypes":
        monkeypatch.setattr(row, "_in_a_row", row._by_ctypes)


@pytest.fixture
def made(each_way: None) -> Callable[[], Row]:
    """Return what makes rows."""
    return Row


def test_what_one_call_returns_is_an_argument_of_the_next(made: Callable[[], Row], tmp_path: Path) -> None:
    calls, file = made(), Slot()
    path = os.fsencode(tmp_path / "said")
    calls.add("openat", _HERE, path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, result=file)
    calls.add("write", file, b"hello", 5)
    calls.prepare()
    calls.carry_out()
    assert (tmp_path / "said").read_text() == "hello"


def test_an_argument_can_be_set_when_the_row_is_ready(made: Callable[[], Row]) -> None:
    calls, file = made(), Slot()
    calls.add("write", file, b"x", 1)
    calls.prepare()
    read, write = os.pipe()
    file.set(write)
    calls.carry_out()
    assert os.read(read, 2) == b"x"
    os.close(read)
    os.close(write)


def test_nothing_is_done_after_a_call_that_fails(made: Callable[[], Row]) -> None:
    read, write = os.pipe()
    calls = made()
    calls.add("write", write, b"1", 1)
    calls.add("close", 1 << 20)
    calls.add("write", write, b"2", 1)
    calls.prepare()
    with pytest.raises(OSError, match="close") as failure:
        calls.carry_out()
    assert failure.value.errno == errno.EBADF
    assert os.read(read, 2) == b"1"
    os.close(read)
    os.close(write)
