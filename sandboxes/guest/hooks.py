"""What modules want done around a fork and at the end is kept from where nothing can come of it.

`random` draws anew, `logging` and `threading` make new locks, all by Python and at every fork: 230 pages that
each child would copy, and nothing to gain, for the zygote has one thread and holds no lock when it forks.
What is left to do for a child is in `fresh_start`; a program's own forks and its end get all they should.
"""

from __future__ import annotations

import _random
import _thread
import atexit
import os
import sys
from typing import Callable  # noqa: UP035  3.9

_Hook = Callable[[], object]
_before: list[_Hook] = []
_in_parent: list[_Hook] = []
_in_child: list[_Hook] = []
_for_every_child: list[_Hook] = []
"""Of other modules, which know better: matplotlib forgets the fonts whose files the fork has closed."""
_NOTHING_TO_GAIN = frozenset({"random", "logging", "threading"})
_of_a_program = False
_register = os.register_at_fork
_held_back: dict[str, int] = {}
"""How many loggers' handlers and how many ends of threads the zygote knows."""


def collect() -> None:
    """Take note from now on of what modules want, before any that wants something is imported."""
    os.register_at_fork = _note


def _note(
    *,
    before: _Hook | None = None,
    after_in_parent: _Hook | None = None,
    after_in_child: _Hook | None = None,
) -> None:
    for hooks, hook in ((_before, before), (_in_parent, after_in_parent), (_in_child, after_in_child)):
        if hook:
            hooks.append(hook)
    # What belongs to a `before` has nothing to undo: that was not called.
    if after_in_child and not before and sys._getframe(1).f_globals["__name__"] not in _NOTHING_TO_GAIN:
        _for_every_child.append(after_in_child)


def hold_back() -> None:
    """Let Python know of all that was noted, as hooks that wait for `fresh_start`."""
    os.register_at_fork = _register
    _before.reverse()  # the last registered comes first
    _register(
        before=lambda: _call(_before),
        after_in_parent=lambda: _call(_in_parent),
        after_in_child=lambda: _call(_in_child),
    )
    atexit.unregister(sys.modules["logging"].shutdown)
    _held_back.update(logging=_handlers(), threading=_ends_of_threads())


def _call(hooks: list[_Hook]) -> None:
    if _of_a_program:
        for hook in hooks:
            hook()


def fresh_start() -> None:
    """In a child: what the hooks would have done for it. From now on all of them are called."""
    global _of_a_program  # noqa: PLW0603 - of this process
    _of_a_program = True
    for hook in _for_every_child:
        hook()
    _random.Random.seed(sys.modules["random"]._inst)
    sys.modules["threading"]._main_thread._native_id = _thread.get_native_id()


def join_threads() -> None:
    """Wait for threads to end, and run what else `threading` wants run then."""
    if _thread._count() or _held_back.get("threading") != _ends_of_threads():
        sys.modules["threading"]._shutdown()


def run_exit_functions() -> None:
    """Run those of `atexit`, and last, as the first registered, `logging`'s if it has anything to flush."""
    try:
        atexit._run_exitfuncs()
    finally:
        if "logging" in _held_back and _held_back["logging"] != _handlers():
            sys.modules["logging"].shutdown()


def _handlers() -> int:
    return len(sys.modules["logging"]._handlerList)


def _ends_of_threads() -> int:
    return len(sys.modules["threading"]._threading_atexits)
