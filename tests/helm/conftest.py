"""Helm, as the tests' cluster brings it along, or as it is installed here."""

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cache_folder import cache_folder
from tests.brokers import absent

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "infra" / "helm" / "millrace"
PROFILES = sorted((ROOT / "infra" / "helm" / "profiles").glob("*.yaml"))


@pytest.fixture(scope="session")
def helm() -> str:
    """The program."""
    return helm_here()


def helm_here() -> str:
    """Return where it is."""
    built = sorted(cache_folder(os.environ).glob("kubernetes-*/helm"))
    found = str(built[-1]) if built else shutil.which("helm")
    return found or absent("there is no Helm here; the cluster of the tests brings one along")


def run(helm: str, *words: str, within_s: float = 120) -> "subprocess.CompletedProcess[str]":
    """Run Helm."""
    return subprocess.run([helm, *words], capture_output=True, text=True, check=False, timeout=within_s)


def rendered(helm: str, profile: Path, *more: str) -> list[dict[str, Any]]:
    """Return all objects of a profile."""
    return _rendered(helm, profile, more)


@functools.cache
def _rendered(helm: str, profile: Path, more: tuple[str, ...]) -> list[dict[str, Any]]:
    words = [
        "template",
        "rel",
        str(CHART),
        "-n",
        "mill",
        "-f",
        str(profile),
        "--kube-version",
        "1.35.0",
        *more,
    ]
    result = run(helm, *words)
    assert result.returncode == 0, result.stderr
    return [thing for thing in yaml.safe_load_all(result.stdout) if thing]


def of_kind(things: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of one kind by name."""
    return {thing["metadata"]["name"]: thing for thing in things if thing["kind"] == kind}
