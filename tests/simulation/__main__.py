"""`make sim`: draw many seeds, or replay one (`python tests/simulation 7`) with everything it says."""

import argparse
import logging
import sys
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parents[2]))

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
    broken = 0
    for seed in seeds:
        try:
            simulate(seed)
        except AssertionError as why:
            broken += 1
            print(why)
    print(f"{len(seeds) - broken} of {len(seeds)} seeds kept every invariant")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
