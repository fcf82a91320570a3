"""`make sim`: draw many seeds, or replay one (`python tests/simulation 7`) with everything it says."""

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.simulation.coverage import Coverage
from tests.simulation.world import simulate

BLOCK = 100


@dataclass
class Drawn:
    """What came of some seeds."""

    seeds: int = 0
    broken: list[str] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)
    cpu_s: float = 0.0

    def add(self, other: "Drawn") -> None:
        """Count others in."""
        self.seeds += other.seeds
        self.broken += other.broken
        self.coverage += other.coverage
        self.cpu_s += other.cpu_s


def main() -> int:
    """Return 1 if any seed broke an invariant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="replay this one, with its log")
    parser.add_argument("--seeds", type=int, default=10_000, help="draw so many")
    parser.add_argument("--first", type=int, default=0, help="from this one on")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="as many at once")
    wanted = parser.parse_args()
    if wanted.seed is not None:
        return _tell([draw([wanted.seed])])
    end = wanted.first + wanted.seeds
    blocks = [range(first, min(first + BLOCK, end)) for first in range(wanted.first, end, BLOCK)]
    with ProcessPoolExecutor(wanted.processes, initializer=_be_silent) as processes:
        return _tell(processes.map(draw, blocks))


def draw(seeds: "range | list[int]") -> Drawn:
    """Run the worlds of `seeds`."""
    drawn, began = Drawn(len(seeds)), time.process_time()
    for seed in seeds:
        try:
            drawn.coverage += simulate(seed)
        except AssertionError as why:
            drawn.broken.append(str(why))
    drawn.cpu_s = time.process_time() - began
    return drawn


def _be_silent() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _tell(parts: Iterable[Drawn]) -> int:
    """Tell what is broken as soon as it is known, and at the end what was reached."""
    all_of_it = Drawn()
    for part in parts:
        all_of_it.add(part)
        for why in part.broken:
            print(why, flush=True)
    print("\n".join(all_of_it.coverage.table()))
    kept, each_ms = all_of_it.seeds - len(all_of_it.broken), all_of_it.cpu_s / all_of_it.seeds * 1000
    print(f"{kept} of {all_of_it.seeds} seeds kept every invariant; {each_ms:.1f} ms of CPU each")
    return int(bool(all_of_it.broken))


if __name__ == "__main__":
    sys.exit(main())
