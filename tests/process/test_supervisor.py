"""The supervisor keeps its children alive, and takes them with it, however it ends."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.process.child import Backoff
from tests.process.processes import has_ended

PRELUDE = """
import os, signal, sys, time
from infra.errors import Misconfigured
from infra.process.child import ChildSpec
from infra.process.supervisor import Supervisor

def tell(line): print(line, flush=True)
def idle(name):
    def run():
        def stop(*_):
            tell(f"{name} stops")
            sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        tell(f"{name} is {os.getpid()}")
        while True: signal.pause()
    return run
def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell("stubborn is up")
    while True: signal.pause()
def run(*specs): sys.exit(Supervisor(specs, tell).run())
"""

Start = Callable[[str], Any]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_request_to_stop_stops_the_stages_from_the_top_and_ends_with_status_0(
    start: Start, number: signal.Signals
) -> None:
    """What was started last depends on the rest, so it goes first."""
    supervisor = start(
        PRELUDE + 'run(ChildSpec("a", idle("a"), stage=0), ChildSpec("b", idle("b"), stage=1))'
    )
    supervisor.says("a is ")
    supervisor.says("b is ")
    supervisor.process.send_signal(number)
    assert supervisor.ends() == 0
    assert supervisor.text().index("b stops") < supervisor.text().index("a stops")


def test_a_killed_child_is_started_again_and_the_reason_is_told(start: Start) -> None:
    """kill -9 of one child is no end of the service."""
    supervisor = start(PRELUDE + 'run(ChildSpec("a", idle("a")))')
    supervisor.says("a is ")
    [first] = supervisor.descendants()
    first.kill()
    supervisor.says("a was killed by SIGKILL")
    supervisor.until(lambda: supervisor.text().count("a is ") == 2, "a second life")
    [second] = supervisor.descendants()
    assert second.pid != first.pid


def test_a_kill_of_the_supervisor_takes_all_children_along(start: Start) -> None:
    """Nothing may go on unwatched."""
    supervisor = start(PRELUDE + 'run(ChildSpec("a", idle("a")), ChildSpec("b", stubborn))')
    supervisor.says("a is ")
    supervisor.says("stubborn is up")
    children = supervisor.descendants()
    assert len(children) == 2
    supervisor.process.kill()
    supervisor.until(lambda: all(map(has_ended, children)), "the end of all children")


def test_a_child_that_does_not_stop_in_time_is_killed(start: Start) -> None:
    """Grace is not for ever."""
    supervisor = start(PRELUDE + 'run(ChildSpec("b", stubborn, stop_grace_s=0.05))')
    supervisor.says("stubborn is up")
    supervisor.process.terminate()
    assert supervisor.ends() == 0
    assert "b did not stop in time and is killed" in supervisor.text()


def test_a_second_ctrl_c_ends_the_patience(start: Start) -> None:
    """Whoever asks twice is in a hurry."""
    supervisor = start(PRELUDE + 'run(ChildSpec("b", stubborn, stop_grace_s=600))')
    supervisor.says("stubborn is up")
    supervisor.process.send_signal(signal.SIGINT)
    supervisor.until(lambda: signal_was_taken(supervisor.process.pid), "the first one to be taken")
    supervisor.process.send_signal(signal.SIGINT)
    assert supervisor.ends() == 0


def signal_was_taken(pid: int) -> bool:
    """Whether no SIGINT is pending for the process (two pending ones would be merged into one)."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    pending = next(line for line in status if line.startswith("ShdPnd:"))
    return not int(pending.split()[1], 16) & 1 << (signal.SIGINT - 1)


def test_a_child_that_is_misconfigured_ends_everything_with_status_2(start: Start) -> None:
    """Starting it again cannot help; an operator must change something."""
    supervisor = start(
        PRELUDE
        + """
def broken(): raise Misconfigured("no safe tier")
run(ChildSpec("a", idle("a")), ChildSpec("b", broken))"""
    )
    assert supervisor.ends() == 2
    assert "millrace b: no safe tier" in supervisor.text()
    assert "Traceback" not in supervisor.text()


def test_later_children_wait_until_an_earlier_one_is_ready(start: Start) -> None:
    """A broker is up before anybody asks for it."""
    supervisor = start(
        PRELUDE
        + """
asked = []
def ready():
    asked.append(1)
    if len(asked) < 5: return False
    tell("ready now")
    return True
run(ChildSpec("a", idle("a"), ready=ready), ChildSpec("b", idle("b")))"""
    )
    supervisor.says("b is ")
    assert supervisor.text().index("ready now") < supervisor.text().index("b is ")


def test_a_child_that_ends_before_it_is_ready_is_told_with_where_to_look(start: Start) -> None:
    """Its own log knows more."""
    supervisor = start(
        PRELUDE
        + """
spec = ChildSpec("broker", lambda: 3, ready=lambda: False, where_to_look="; see broker.log")
try: run(spec)
except Misconfigured as error: tell(str(error))"""
    )
    assert supervisor.ends() == 0
    assert "broker did not start; see broker.log" in supervisor.text()


def test_a_child_that_is_done_is_not_started_again_if_it_should_not_be(start: Start) -> None:
    """Some children have one thing to say and go."""
    supervisor = start(
        PRELUDE + 'run(ChildSpec("once", lambda: tell("hello"), restart=False), ChildSpec("a", idle("a")))'
    )
    supervisor.says("hello")
    supervisor.until(lambda: len(supervisor.descendants()) == 1, "the end of the first child")
    supervisor.process.terminate()
    assert supervisor.ends() == 0
    assert supervisor.text().count("hello") == 1


def test_the_waits_between_short_lives_grow_and_are_forgotten_after_a_long_one() -> None:
    """A child that always crashes must not eat the machine; one that crashes once is back at once."""
    backoff = Backoff(first_s=1, max_s=3, steady_after_s=10)
    assert [backoff.after(0.1) for _ in range(4)] == [0, 1, 2, 3]
    assert backoff.after(0.1) == 3
    assert backoff.after(10) == 0
