"""`make sim`: draw many seeds, or replay one (`python tests/simulation 7`) with everything it says."""

import argparse
import logging
import sys
import time
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.simulation.coverage import Coverage
from tests.simulation.world import simulate


def main() -> int:
    """Return 1 if any seed broke an invariant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="replay this one, with its log")
    parser.add_argument("--seeds", type=int, default=10_000, help="draw so many, from 0")
    wanted = parser.parse_args()
    if wanted.seed is not None:
        return _broken([wanted.seed])
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return _broken(range(wanted.seeds))


def _broken(seeds: "range | list[int]") -> int:
    broken, coverage, began = 0, Coverage(), time.process_time()
    for seed in seeds:
        try:
            coverage += simulate(seed)
        except AssertionError as why:
            broken += 1
            print(why)
    print("\n".join(coverage.table()))
    took_ms = (time.process_time() - began) / len(seeds) * 1000
    print(f"{len(seeds) - broken} of {len(seeds)} seeds kept every invariant; {took_ms:.1f} ms of CPU each")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
