"""Settings read from exactly what a test says: no `.env` and no environment of whoever runs the tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.settings import Fault, Settings, load_settings
from infra.settings.load import examine

NO_FILE = {"MILLRACE_ENV_FILE": "/dev/null", "HOME": "/nowhere"}


@pytest.fixture
def read() -> Callable[..., Settings]:
    """Read settings from the given variables alone."""
    return lambda **environ: load_settings({**NO_FILE, **environ})


@pytest.fixture
def faults_of() -> Callable[..., list[Fault]]:
    """Return what is wrong with the given variables."""
    return lambda **environ: examine({**NO_FILE, **environ})[1]


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Work in an empty folder with an environment free of settings; returns the folder."""
    from infra.settings.catalogue import SETTINGS

    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MILLRACE_ENV_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
