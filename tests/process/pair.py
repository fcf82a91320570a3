"""The processes of production, on one machine: an edge and a handler, each for itself, beside a broker."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.brokers import free_port
from tests.process.processes import ROOT, wait_until

NAMES = ("edge", "handlers")


class Pair:
    """One edge and one handler process, as they run in production."""

    def __init__(self, folder: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "CI") if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "API_HOST": "127.0.0.1", "API_PORT": str(port), **settings}
        with (folder / "log").open("ab") as log:
            self._processes = [
                subprocess.Popen(
                    [sys.executable, "-m", "millrace", name],
                    cwd=folder,
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
                for name in NAMES
            ]

    def ready(self) -> "Pair":
        wait_until(self._answers, "the edge to answer", 60)
        return self

    def stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(timeout=60)

    def kill(self, *names: str) -> None:
        """Kill both, or those named."""
        for process in [self._processes[NAMES.index(name)] for name in names or NAMES]:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/health/ready", timeout=5) as answer:
            return answer.status == 200
        return False


StartPair = Callable[..., Pair]


@contextmanager
def pairs(folder: Path, **settings: str) -> Iterator[StartPair]:
    """Start pairs with these settings and those of each call, on one folder; none is left at the end."""
    settings["MILLRACE_DATA_DIR"] = str(folder / "data")
    started: list[Pair] = []

    def start(**more: str) -> Pair:
        started.append(Pair(folder, **settings, **more))
        return started[-1].ready()

    try:
        yield start
    finally:
        for pair in started:
            pair.kill()
