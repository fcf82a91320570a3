"""What is installed is what is written down, byte for byte, from whatever index the operator uses."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.house.repository import text_of

_LOCKS = {
    "requirements.txt": ("project", "dependencies"),
    "requirements-dev.txt": ("dependency-groups", "dev"),
}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pinned(lock: str) -> dict[str, str]:
    """Return each pinned name with everything up to the next one."""
    pieces = re.split(r"^(?=[a-zA-Z0-9])", text_of(Path(lock)), flags=re.MULTILINE)
    return {_normal(piece.partition("==")[0]): piece for piece in pieces if piece.strip()}


@pytest.mark.parametrize("lock", _LOCKS)
def test_every_declared_dependency_is_pinned(lock: str) -> None:
    """`make lock` was run after the last change of pyproject.toml."""
    table, key = _LOCKS[lock]
    declared = tomllib.loads(text_of(Path("pyproject.toml")))[table][key]
    names = [_normal(re.match(r"[A-Za-z0-9._-]+", requirement)[0]) for requirement in declared]
    assert [name for name in names if name not in _pinned(lock)] == []


@pytest.mark.parametrize("lock", _LOCKS)
def test_every_pin_carries_hashes(lock: str) -> None:
    """An index that serves something else is noticed."""
    assert [name for name, piece in _pinned(lock).items() if "--hash=sha256:" not in piece] == []


@pytest.mark.parametrize("lock", _LOCKS)
def test_a_lock_names_no_index(lock: str) -> None:
    """Mirrors and closed networks are the operator's business."""
    assert not re.search(r"--(extra-)?index-url|--find-links|https?://", text_of(Path(lock)))


def test_both_locks_agree_on_what_they_share() -> None:
    """One environment cannot hold two versions."""
    run, dev = (_pinned(lock) for lock in _LOCKS)
    versions = re.compile(r"==(\S+)")
    shared = run.keys() & dev.keys()
    assert [name for name in shared if versions.findall(run[name]) != versions.findall(dev[name])] == []
