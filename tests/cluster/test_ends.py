"""A cluster that was started for a command is gone with it, however the command and we end."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.cluster import build, lifecycle
from infra.cluster.home import home
from infra.cluster.leftovers import leftovers
from infra.cluster.programs import Programs
from tests.brokers import absent, until

pytestmark = [pytest.mark.cluster("own"), pytest.mark.timeout(300)]
_PATIENCE_S = 120.0
_WORK = """
kubectl="{kube} kubectl --kubeconfig {kubeconfig}"
$kubectl run one --image=test.local/pause:1 --image-pull-policy=Never
$kubectl wait --for=condition=Ready pod/one --timeout=100s
setsid sleep 1000 &
echo up $!
exec sleep 1000
"""
"""A command with a pod, and with a descendant that has left its group."""


class Run:
    """`python -m infra.cluster during` with that command."""

    def __init__(self) -> None:
        script = _WORK.format(kube=build.programs() / "kube", kubeconfig=home().kubeconfig())
        self.front = subprocess.Popen(
            [sys.executable, "-m", "infra.cluster", "during", "sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.said = b""
        self._read(lambda: b"up " in self.said)
        self.left_behind = int(self.said.split()[-1])

    def group(self, number: int) -> None:
        """Send a signal to the group of whoever started it, as `timeout` does."""
        os.killpg(self.front.pid, number)

    def keeper(self) -> int:
        (child,) = Path(f"/proc/{self.front.pid}/task/{self.front.pid}/children").read_text().split()
        return int(child)

    def is_over(self) -> bool:
        """Whether its output is at its end: whoever reads it waits no longer, and nothing is left."""
        self._read(lambda: False)
        return not leftovers(home()) and not Path(f"/proc/{self.left_behind}").exists()

    def _read(self, is_enough: Callable[[], bool]) -> None:
        assert self.front.stdout
        give_up_at = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up_at and not is_enough():
            if select.select([self.front.stdout], [], [], 1.0)[0]:
                chunk = os.read(self.front.stdout.fileno(), 1 << 16)
                if not chunk:
                    return
                self.said += chunk
        assert is_enough(), f"its output goes on: {self.said.decode()}"


@pytest.fixture
def run() -> Iterator[Run]:
    if lifecycle.tier_of_this_machine() != "pods" or not build.is_built():
        absent("pods need root, Debian's containerd, and `make cluster` once")
    if lifecycle.running_tier():
        pytest.skip("a cluster runs that is not ours to end")
    made = Run()
    try:
        yield made
    finally:
        with suppress(ProcessLookupError):
            made.group(signal.SIGKILL)
        made.front.wait()
        lifecycle.down()


def test_a_time_limit_ends_it_all(run: Run) -> None:
    run.group(signal.SIGTERM)
    assert run.is_over(), leftovers(home())
    assert run.front.wait(30) == 128 + signal.SIGTERM


def test_whoever_started_it_is_killed(run: Run) -> None:
    run.group(signal.SIGKILL)
    until(run.is_over, "everything to go", _PATIENCE_S)


def test_containerd_and_the_keeper_are_killed(run: Run) -> None:
    """Then nobody is left who could end pods in good order."""
    os.kill(Programs(home()).pid("containerd"), signal.SIGKILL)
    os.kill(run.keeper(), signal.SIGKILL)
    until(run.is_over, "everything to go", _PATIENCE_S)
