"""From every seed a different disaster, and after each of them the promise holds.

`make sim SEEDS=100000` runs more; a failure names its seed, and `make sim SEED=…` replays it.
"""

import functools
import os

import pytest

from tests.simulation.coverage import CHANCES, EDGE_STEPS, HANDLER_STEPS, Coverage
from tests.simulation.plan import Aim
from tests.simulation.world import simulate

SEEDS = int(os.environ.get("SEEDS", "2000"))
BLOCK = 100
TIMES = 5
"""How often each step has to be the last one, or the one before a long sleep."""
SEEDS_FOR_ONE_STEP = 100
SEEDS_FOR_CHANCES = 200
simulated = functools.cache(simulate)
"""What a seed came across: several tests ask for the same."""


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_every_accepted_execution_ends_exactly_once_whatever_dies(first):
    """A hundred seeds at a time."""
    for seed in range(first, min(first + BLOCK, SEEDS)):
        simulated(seed)


def until_it_happened(aim, name):
    """Draw worlds with this aim until enough came there."""
    coverage, seed = Coverage(), 0
    while coverage[name] < TIMES:
        coverage += simulate(seed, aim)
        seed += 1
        assert seed < SEEDS_FOR_ONE_STEP, f"{name} {coverage[name]} times"


@pytest.mark.parametrize("step", [*EDGE_STEPS, *HANDLER_STEPS])
def test_every_execution_ends_once_whatever_dies_at(step):
    """In the middle of a transition too: every process that comes to this step dies there."""
    until_it_happened(Aim(step), f"died at {step}")


@pytest.mark.parametrize("step", HANDLER_STEPS)
def test_every_execution_ends_once_whatever_sleeps_at(step):
    """Handlers stand still there, most of them for longer than their leases last, and go on."""
    until_it_happened(Aim(step, "pause"), f"slept at {step}")


def test_time_goes_on_when_a_wait_ends_a_rounding_error_too_early():
    """Seed 3408 once looked for an abandoned entry for ever, ten femtoseconds before it was one."""
    simulate(3408)


def test_all_that_chance_may_bring_about_does_happen():
    """Duplicates, overtaking, wrong clocks: what is never drawn proves nothing."""
    coverage = sum((simulated(seed) for seed in range(SEEDS_FOR_CHANCES)), Coverage())
    assert [name for name in CHANCES if not coverage[name]] == []
