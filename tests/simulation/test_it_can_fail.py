"""A simulation that never fails proves nothing: each rule of delivery, broken on purpose, is caught."""

import pytest

from streams.memory import MemoryTransport
from streams.memory.broker import MemoryBroker
from streams.memory.executions import Execution
from streams.protocol import Begun
from tests.simulation.world import simulate

SEEDS_TO_NOTICE = 400


def fails_within(seeds: int) -> str:
    """Return what the first failing seed says; fails itself if none does."""
    for seed in range(seeds):
        try:
            simulate(seed)
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

    async def careless(self, delivery, command, digest):
        execution = self._broker.execution(command.id)
        if execution is not None:
            execution.held_until = 0.0
            execution.started_at = None
        return await begin(self, delivery, command, digest)

    monkeypatch.setattr(MemoryTransport, "begin", careless)
    assert "seed" in fails_within(SEEDS_TO_NOTICE)


def test_acknowledging_before_the_end_loses_work_when_a_handler_dies(monkeypatch):
    """The entry is gone with the handler that took it."""
    begin = MemoryTransport.begin

    async def early(self, delivery, command, digest):
        begun = await begin(self, delivery, command, digest)
        if isinstance(begun, Begun):
            self._broker.acknowledge(delivery.entry)
        return begun

    monkeypatch.setattr(MemoryTransport, "begin", early)
    assert "never ended" in fails_within(SEEDS_TO_NOTICE)


def test_forgetting_that_code_started_runs_it_twice(monkeypatch):
    """`retry: if_not_started` needs to know."""
    begin = MemoryTransport.begin

    async def forgetful(self, delivery, command, digest):
        begun = await begin(self, delivery, command, digest)
        return Begun(begun.lease, False, begun.over_limit) if isinstance(begun, Begun) else begun

    monkeypatch.setattr(MemoryTransport, "begin", forgetful)
    assert "ran 2 times" in fails_within(SEEDS_TO_NOTICE)


def test_losing_one_acknowledged_entry_is_noticed(monkeypatch):
    """A broker that forgets a request is seen by whoever waits for it."""
    publish = MemoryBroker.publish
    count = 0

    def forgetful(self, body):
        nonlocal count
        count += 1
        return publish(self, body) if count % 7 else None

    monkeypatch.setattr(MemoryBroker, "publish", forgetful)
    assert "never ended" in fails_within(SEEDS_TO_NOTICE)
