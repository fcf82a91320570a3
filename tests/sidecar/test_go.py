"""The Go parts pass Go's own tests, and are in shape."""

import subprocess
from pathlib import Path

import pytest

from infra.setup import go
from sandboxes.pod_programs import SOURCES
from tests.brokers import absent


@pytest.fixture(scope="module")
def compiler() -> Path:
    return go.find_go() or absent("there is no Go of at least 1.21; python -m infra.setup.go brings one")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("verb", ["vet", "test"])
def test_agent_and_sidecar_pass(compiler: Path, verb: str) -> None:
    command = [str(compiler), verb, "./..."]
    result = subprocess.run(
        command,
        cwd=SOURCES,
        env=go.environment(compiler),
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_they_use_the_standard_library_alone() -> None:
    assert "require" not in (SOURCES / "go.mod").read_text()


def test_they_are_formatted(compiler: Path) -> None:
    formatter = compiler.with_name("gofmt")
    assert (
        subprocess.run(
            [formatter, "-l", "."], cwd=SOURCES, capture_output=True, text=True, check=False
        ).stdout
        == ""
    )
