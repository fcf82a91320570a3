"""One process tree at a time owns the data folder."""

from pathlib import Path

import pytest

from infra.errors import Misconfigured
from infra.process.data_dir import DataDir


def test_a_second_claim_is_refused_with_the_owner_and_the_way_out(tmp_path: Path) -> None:
    """Two brokers on one append-only file would destroy it."""
    first, second = DataDir(tmp_path / "data"), DataDir(tmp_path / "data")
    first.claim()
    with pytest.raises(Misconfigured, match=r"process \d+.*MILLRACE_DATA_DIR"):
        second.claim(patience_s=0)
    first.release()
    second.release()


def test_a_folder_that_was_released_can_be_claimed_again(tmp_path: Path) -> None:
    """Nothing has to be cleared away by hand."""
    first, second = DataDir(tmp_path), DataDir(tmp_path)
    first.claim()
    first.release()
    first.release()
    second.claim(patience_s=0)
    second.release()


def test_the_folder_is_made_for_this_user_only(tmp_path: Path) -> None:
    """It holds other people's code and data."""
    data = DataDir(tmp_path / "a" / "b")
    data.claim()
    data.release()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A clear sentence instead of a stack trace."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match=r"MILLRACE_DATA_DIR .*file/data cannot be used"):
        DataDir(tmp_path / "file" / "data").claim()
