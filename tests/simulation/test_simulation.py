"""From every seed a different disaster, and after each of them the promise holds.

`make sim SEEDS=100000` runs more; a failure names its seed, and `make sim SEED=…` replays it.
"""

import functools
import os

import pytest

from tests.simulation.coverage import CHANCES, EDGE_STEPS, HANDLER_STEPS, Coverage
from tests.simulation.world import simulate

SEEDS = int(os.environ.get("SEEDS", "400"))
BLOCK = 100
DEATHS = 2
SEEDS_FOR_ONE_STEP = 800
SEEDS_FOR_CHANCES = 200
NOWHERE = "a step that nobody comes to"
simulated = functools.cache(simulate)
"""What a seed came across: several tests ask for the same."""


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_every_accepted_execution_ends_exactly_once_whatever_dies(first):
    """A hundred seeds at a time."""
    for seed in range(first, min(first + BLOCK, SEEDS)):
        simulated(seed)


@pytest.mark.parametrize("step", [*EDGE_STEPS, *HANDLER_STEPS])
def test_every_execution_ends_once_whatever_dies_at(step):
    """In the middle of a transition too: every process that comes to this step dies there."""
    deaths, leading_there = 0, _seeds_that_reach(step)
    while deaths < DEATHS:
        deaths += simulate(next(leading_there), step)[f"died at {step}"]


def _seeds_that_reach(step):
    """Yield seeds whose worlds come to `step`: until the first death all is as if nobody were to die."""
    for seed in range(SEEDS_FOR_ONE_STEP):
        if simulated(seed, NOWHERE)[step]:
            yield seed
    pytest.fail(f"too few of {SEEDS_FOR_ONE_STEP} seeds came to {step}")


def test_time_goes_on_when_a_wait_ends_a_rounding_error_too_early():
    """Seed 3408 once looked for an abandoned entry for ever, ten femtoseconds before it was one."""
    simulate(3408)


def test_all_that_chance_may_bring_about_does_happen():
    """Duplicates, overtaking, wrong clocks: what is never drawn proves nothing."""
    coverage = sum((simulated(seed) for seed in range(SEEDS_FOR_CHANCES)), Coverage())
    assert [name for name in CHANCES if not coverage[name]] == []
