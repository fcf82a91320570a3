"""Measuring: repeated samples and what is said of them. Milliseconds everywhere."""

import math
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Samples:
    """Durations of one thing done again and again, in milliseconds."""

    ms: list[float]

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.ms)

    @property
    def p99(self) -> float:
        """The value that 99 of 100 stay at or below (nearest rank)."""
        ordered = sorted(self.ms)
        return ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)]


def sample(act: Callable[[], object], count: int, warm: int = 3, pause_s: float = 0.0) -> Samples:
    """Do `act` `warm` times uncounted, then `count` times counted, each time after a pause."""
    for _ in range(warm):
        act()
    taken = []
    for _ in range(count):
        time.sleep(pause_s)
        begin = time.perf_counter()
        act()
        taken.append((time.perf_counter() - begin) * 1000)
    return Samples(taken)


def run_command(argv: Sequence[str]) -> float:
    """Run a command to its end; return the milliseconds it took."""
    begin = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin) * 1000


def sample_command(argv: list[str], count: int) -> Samples:
    """Run a command to its end `count` times."""

    def run() -> None:
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    return sample(run, count)
