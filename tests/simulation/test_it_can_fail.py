"""A simulation that never fails proves nothing: each rule of delivery, broken on purpose, is caught."""

from dataclasses import replace

import pytest

from infra.stores.saved_state import State
from streams.lanes import FairOrder, _Ring
from streams.memory import MemoryTransport
from streams.memory.broker import MemoryBroker
from streams.memory.executions import Execution
from streams.memory.turns import Turns
from streams.protocol import Begun
from streams.turns import place_of
from tests.simulation.plan import AT_RANDOM, Aim
from tests.simulation.states import SharedStates
from tests.simulation.world import simulate

SEEDS_TO_NOTICE = 400


def fails_within(seeds: int, aim: Aim = AT_RANDOM) -> str:
    """Return what the first failing seed says; fails itself if none does."""
    for seed in range(seeds):
        try:
            simulate(seed, aim)
        except AssertionError as broken:
            return str(broken)
    pytest.fail(f"{seeds} seeds noticed nothing")


def test_without_fencing_a_sleeper_that_wakes_spoils_the_log(monkeypatch):
    """A lease that was lost still writes."""

    def check(_self, _token):
        return None

    monkeypatch.setattr(Execution, "check", check)
    assert "seed" in fails_within(SEEDS_TO_NOTICE)


def test_without_leases_a_duplicate_runs_again(monkeypatch):
    """Every delivery believes itself the first."""
    begin = MemoryTransport.begin

    async def careless(self, delivery, command, digest, started=None):
        execution = self._broker.execution(command.id)
        if execution is not None:
            execution.held_until = 0.0
            execution.started_at = None
        return await begin(self, delivery, command, digest, started)

    monkeypatch.setattr(MemoryTransport, "begin", careless)
    assert "seed" in fails_within(SEEDS_TO_NOTICE)


def test_acknowledging_before_the_end_loses_work_when_a_handler_dies(monkeypatch):
    """The entry is gone with the handler that took it."""
    begin = MemoryTransport.begin

    async def early(self, delivery, command, digest, started=None):
        begun = await begin(self, delivery, command, digest, started)
        if isinstance(begun, Begun):
            self._broker.acknowledge(delivery.entry)
        return begun

    monkeypatch.setattr(MemoryTransport, "begin", early)
    assert "never ended" in fails_within(SEEDS_TO_NOTICE)


def test_forgetting_that_code_started_runs_it_twice(monkeypatch):
    """`retry: if_not_started` needs to know."""
    begin = MemoryTransport.begin

    async def forgetful(self, delivery, command, digest, started=None):
        begun = await begin(self, delivery, command, digest, started)
        return replace(begun, started_before=False) if isinstance(begun, Begun) else begun

    monkeypatch.setattr(MemoryTransport, "begin", forgetful)
    assert "ran 2 times" in fails_within(SEEDS_TO_NOTICE)


def test_losing_one_acknowledged_entry_is_noticed(monkeypatch):
    """A broker that forgets a request is seen by whoever waits for it."""
    publish = MemoryBroker.publish
    count = 0

    def forgetful(self, body, published_at=None):
        nonlocal count
        count += 1
        return publish(self, body, published_at) if count % 7 else None

    monkeypatch.setattr(MemoryBroker, "publish", forgetful)
    assert "never ended" in fails_within(SEEDS_TO_NOTICE)


def test_first_come_first_served_lets_one_tenant_crowd_out_another(monkeypatch):
    """As one queue without lanes would."""

    def in_one_lane(self, lane, item):
        self._rings["interactive"].add("everybody", item)

    monkeypatch.setattr(FairOrder, "add", in_one_lane)
    said = fails_within(SEEDS_TO_NOTICE)
    assert "waited" in said or "went" in said


def test_serving_the_same_lane_again_and_again_is_noticed(monkeypatch):
    """A hand-out that costs its lane nothing."""
    take = _Ring.take

    def free_of_charge(self):
        marks = dict(self.marks)
        item = take(self)
        self.marks.update({name: mark for name, mark in marks.items() if name in self.marks})
        return item

    monkeypatch.setattr(_Ring, "take", free_of_charge)
    assert "again and again" in fails_within(SEEDS_TO_NOTICE)


def test_batch_that_starves_is_noticed(monkeypatch):
    """Interactive work always first."""
    take = FairOrder.take

    def always_interactive(self):
        self._since_batch = 0
        return take(self)

    monkeypatch.setattr(FairOrder, "take", always_interactive)
    assert "batch waited" in fails_within(SEEDS_TO_NOTICE)


def test_batch_that_goes_first_is_noticed(monkeypatch):
    """Priorities that say nothing."""
    take = FairOrder.take

    def always_batch(self):
        self._since_batch = 1000
        return take(self)

    monkeypatch.setattr(FairOrder, "take", always_batch)
    assert "batch went first" in fails_within(SEEDS_TO_NOTICE)


def test_a_session_without_turns_is_noticed(monkeypatch):
    """Everybody believes that it is his turn."""
    monkeypatch.setattr(Turns, "is_mine", lambda *_: True)
    said = fails_within(SEEDS_TO_NOTICE)
    assert "started in the turn of" in said or "published first" in said


def test_turns_out_of_order_are_noticed(monkeypatch):
    """Who joins last is first."""
    monkeypatch.setattr("streams.memory.turns.place_of", lambda entry: -place_of(entry))
    assert "published first" in fails_within(SEEDS_TO_NOTICE, Aim("park: kept"))


def test_who_waits_and_is_woken_by_nobody_is_noticed(monkeypatch):
    """Neither whoever ends nor whoever looks."""

    async def nobody(*_):
        return None

    monkeypatch.setattr(Turns, "wake", nobody)
    assert "never ended" in fails_within(SEEDS_TO_NOTICE)


def test_a_state_that_is_forgotten_is_noticed(monkeypatch):
    """A store that gives what was there before."""
    newest = SharedStates.newest

    def stale(self, owner):
        found = newest(self, owner)
        return found and State(found.record, self.versions[owner][0])

    monkeypatch.setattr(SharedStates, "newest", stale)
    assert "newer ones were saved before" in fails_within(SEEDS_TO_NOTICE)


def test_variables_saved_by_whoever_slept_are_noticed(monkeypatch):
    """A store that forgets who claimed a state last."""
    replace = SharedStates.replace

    def unfenced(self, owner, data, expected, claim, now):
        self.claims[owner] = claim
        return replace(self, owner, data, expected, claim, now)

    monkeypatch.setattr(SharedStates, "replace", unfenced)
    said = fails_within(SEEDS_TO_NOTICE, Aim("state: sent", "pause"))
    assert "saved variables" in said or "held the claim" in said


def test_acknowledging_before_the_result_loses_it_when_a_handler_dies_in_between(monkeypatch):
    """Between two steps of one transition."""
    settle = MemoryTransport._settle

    async def early(self, delivery, execution):
        self._broker.acknowledge(delivery.entry)
        await settle(self, delivery, execution)

    monkeypatch.setattr(MemoryTransport, "_settle", early)
    assert "no result was published" in fails_within(SEEDS_TO_NOTICE, Aim("finish: logged"))


def test_acknowledging_any_duplicate_is_noticed(monkeypatch):
    """Who slept with one that others acknowledged takes the lease, the first is acknowledged, and he dies."""
    monkeypatch.setattr(MemoryTransport, "_gives_way", lambda _, given, held: held.entry != given.entry)
    assert "never ended" in fails_within(SEEDS_TO_NOTICE, Aim("state: asked"))


def test_a_request_that_was_only_recorded_is_noticed(monkeypatch):
    """An edge that dies between both is asked again, and has to publish then."""
    submit = MemoryTransport.submit

    async def once(self, command, digest):
        if self._broker.execution(command.id) is None:
            await submit(self, command, digest)

    monkeypatch.setattr(MemoryTransport, "submit", once)
    assert "never ended" in fails_within(SEEDS_TO_NOTICE, Aim("submit: recorded"))
