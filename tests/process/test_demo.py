"""The demo is the first thing a stranger runs: it must hold what it shows."""

import subprocess
import sys

import pytest

from tests.process.processes import ROOT


@pytest.mark.usefixtures("bubblewrap")
@pytest.mark.timeout(200)
def test_every_step_of_the_demo_holds() -> None:
    """It checks each of its claims itself and says so by its status."""
    command = [sys.executable, "examples/demo.py"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=190, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "\033" not in ended.stdout, "colours without a terminal"
