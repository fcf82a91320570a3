"""From every seed a different disaster, and after each of them the promise holds.

`make sim SEEDS=100000` runs more; a failure names its seed, and `make sim SEED=…` replays it.
"""

import os

import pytest

from tests.simulation.world import simulate

SEEDS = int(os.environ.get("SEEDS", "400"))
BLOCK = 100


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_every_accepted_execution_ends_exactly_once_whatever_dies(first):
    """A hundred seeds at a time."""
    for seed in range(first, min(first + BLOCK, SEEDS)):
        simulate(seed)
