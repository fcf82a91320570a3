"""Runs a command while a cluster is up, and leaves nothing, however any of the three ends.

Two processes: the one that was called passes signals on and waits; the keeper, in a session of its own,
starts the cluster and the command, and takes both away. It notices the end of the first by a pipe, and is
given whatever the command's descendants leave running. So a run of tests may be stopped by a time limit or
killed, and still no process, mount or network device stays.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Literal

from infra.cluster import lifecycle
from infra.cluster.descendants import end_descendants
from infra.cluster.home import home
from infra.process.lifeline import adopt_orphans

Wanted = lifecycle.Tier | Literal["later"]
KEPT = "MILLRACE_CLUSTER_KEPT"
"""In the environment of a command whose cluster is taken down for it."""
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ALONE = 128 + signal.SIGHUP
"""How a keeper ends whose caller is gone."""
_LAST_WORDS_S = 8.0
"""How long an interrupted command may take to sum up and clean up; `timeout` kills after 30 s."""


def run_during(command: Sequence[str], tier: Wanted) -> int:
    """Run `command` while a cluster is up, started for it if none runs; returns its exit code.

    `later`: the command starts one itself when it needs it, and need not think of its end.
    """
    adopt_orphans()
    was_up = lifecycle.running_tier() is not None
    lifeline, held = os.pipe()
    words = [sys.executable, "-m", "infra.cluster", "keep", str(lifeline), tier, *command]
    with subprocess.Popen(words, pass_fds=(lifeline,), start_new_session=True) as keeper:
        os.close(lifeline)
        for number in _STOPS:
            signal.signal(number, lambda *_: keeper.terminate())
        code = keeper.wait()
    os.close(held)
    if code < 0:  # somebody killed even the keeper
        end_descendants(home())
        if not was_up:
            lifecycle.down()
    return 128 - code if code < 0 else code


def keep(lifeline: int, tier: Wanted, command: Sequence[str]) -> int:
    """Be the keeper. `lifeline` is the end of a pipe that is at its end when our caller is gone."""
    adopt_orphans()
    for number in _STOPS:
        signal.signal(number, _stop)
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    was_up = lifecycle.running_tier() is not None
    try:
        if tier != "later":
            lifecycle.up(tier)
        return _run(command)
    finally:
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)
        end_descendants(home())
        if not was_up:
            lifecycle.down()


def _run(command: Sequence[str]) -> int:
    process = subprocess.Popen(command, env={**os.environ, KEPT: "1"}, start_new_session=True)
    try:
        code = process.wait()
    except SystemExit as stop:
        if stop.code != _ALONE:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGINT)
                process.wait(_LAST_WORDS_S)
        raise
    return 128 - code if code < 0 else code


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _watch(lifeline: int) -> None:
    """Wait for our caller's end. Nobody hears us then, and whoever reads our output is not to wait for us."""
    os.read(lifeline, 1)
    log = os.open(_log(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.kill(os.getpid(), signal.SIGHUP)


def _log() -> Path:
    return home().folder.with_name("cluster-keeper.log")
