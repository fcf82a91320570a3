"""Ends a test process whose test hangs where no time limit reaches it, and shows what hung.

The limit of a test is a signal that raises in it. A teardown that waits for ever, or a loop that catches
everything, outlives that, and the whole run would wait with it. Then the process ends itself: the other
workers go on, the report names the test, and the stacks of its tasks and threads are in the log.
"""

import asyncio
import faulthandler
import gc
import os
import sys
import threading
from collections.abc import Generator, Iterator
from inspect import isasyncgen

import pytest

HANGS_AFTER_S = 240.0
"""Twice the limit of a test, which has had its chance by then."""


class HangWatch:
    """The plugin: one daemon thread per test that runs."""

    def __init__(self, config: pytest.Config, hangs_after_s: float = HANGS_AFTER_S) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._hangs_after_s = hangs_after_s

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch one test with its set-up and its teardown."""
        mark = item.get_closest_marker("timeout")  # one that may take longer has longer
        after_s = max(self._hangs_after_s, 2.0 * mark.args[0] if mark and mark.args else 0.0)
        watch = threading.Timer(after_s, self._give_up, args=[item.nodeid, after_s])
        watch.daemon = True
        watch.start()
        try:
            return (yield)
        finally:
            watch.cancel()

    def _give_up(self, name: str, after_s: float) -> None:
        if self._capture is not None:
            self._capture.suspend(in_=False)
        print(f"\n{name} hangs since {after_s:g} s; its process ends.", file=sys.stderr)
        for task in _unfinished_tasks():
            print(f"{task.get_name()} waits at", *_waits_at(task.get_coro()), sep="\n  ", file=sys.stderr)
        faulthandler.dump_traceback(file=sys.stderr)
        sys.stderr.flush()
        os._exit(70)


def _unfinished_tasks() -> list["asyncio.Task[object]"]:
    """Return the tasks of every loop of this process; asyncio itself lists those of one loop only."""
    tasks = [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Task)]
    return [task for task in tasks if not task.done()]


def _waits_at(awaited: object) -> Iterator[str]:
    """Yield where each coroutine and generator waits, outermost first; asyncio tells only the outermost."""
    while awaited is not None:
        for kind in ("cr", "ag", "gi"):
            if frame := getattr(awaited, f"{kind}_frame", None):
                yield f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
                awaited = getattr(awaited, f"{kind}_await" if kind != "gi" else "gi_yieldfrom")
                break
        else:  # the step of an async generator has no way to the generator but this
            awaited = next(filter(isasyncgen, gc.get_referents(awaited)), None)
