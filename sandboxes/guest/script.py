"""Run one Python program in this process as `python3 main.py` would, and end the process as it would.

The interpreter is not finalized: that walks every object of the warm process and would copy its pages.
What a program can see of finalization is done instead, in CPython's order (`Py_FinalizeEx`): threads are
joined, exit functions run, streams flushed, and the program's own objects are let go, so that files left
open get their bytes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.machinery
import itertools
import os
import signal
import sys
import threading  # noqa: F401 - whose end is ours to wait for
import traceback
import types
from typing import Any, Callable, Protocol, Sequence, TextIO  # noqa: UP035  3.9

from . import hooks

LAST_WORD = "/program/.ended"
"""A symbolic link; what it points to is the exit status of a Python program that came to its own end."""
_FLUSH_FAILED = 120
_REHEARSAL = b"print(1)\n"
"""Its output goes to /dev/null: nobody is there yet."""
_DESCRIPTORS_MAX = 4096


class Keeper(Protocol):
    """What knows the program's variables from run to run: see `state`."""

    def restore(self, main: types.ModuleType) -> None:
        """Put variables into `main`."""

    def save(self, main: types.ModuleType, status: int) -> None:
        """Save those of `main`, which ended with `status`."""


class Tools(Protocol):
    """What the program may call from outside: see `tools`."""

    def enter(self, main: types.ModuleType) -> None:
        """Put the functions into `main`."""

    def leave(self, main: types.ModuleType) -> None:
        """Take them out again."""

    def execute(self, source: bytes, path: str, main: types.ModuleType) -> None:
        """Run a program, as the body of an async function, in `main`."""


def run(path: str, args: Sequence[str], keeper: Keeper | None = None, tools: Tools | None = None) -> None:
    """Run the program at `path` and end the process with its exit status. Does not return."""
    main = _make_main(path)
    process = os.getpid()
    sys.argv = [path, *args]
    if keeper:
        keeper.restore(main)
    if tools:
        tools.enter(main)
    status = _execute(main, path, tools)
    _end_by_its_own(hooks.join_threads)
    if tools:
        tools.leave(main)
    if keeper:
        keeper.save(main, status)
    status = _finish(main) or status
    if os.getpid() == process:  # what it forked may come here as well, and is not asked
        _say_last_word(status)
    os._exit(status)


def rehearse() -> None:
    """Run a program of no consequence in this process, which has not run one yet, but not to its end."""
    main = _make_main("/dev/null")
    _execute(main, "/dev/null", None)
    exec(compile(_REHEARSAL, "", "exec", dont_inherit=True), main.__dict__)
    _flush(sys.stdout, sys.stderr)
    _let_go(main)


def _say_last_word(status: int) -> None:
    """Leave the exit status where the service looks once nobody can write any more, and hang up.

    The kernel tears this process down before it tells anybody of its end; that takes longer than a short
    program. The word is a link, which needs no memory, and no more than the program might say of itself.
    """
    with contextlib.suppress(OSError):
        os.symlink(str(status), LAST_WORD)  # noqa: PTH211 - no path object in a process about to end
    os.closerange(0, _DESCRIPTORS_MAX)


def _make_main(path: str) -> types.ModuleType:
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __builtins__=sys.modules["builtins"],
        __file__=path,
        __cached__=None,
        __annotations__={},
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
    )
    del sys.modules["__main__"]
    sys.modules["__main__"] = main  # the last one: what stands after it was imported by the program
    return main


def _execute(main: types.ModuleType, path: str, tools: Tools | None) -> int:
    try:
        with open(path, "rb") as file:
            source = file.read()
        if tools:
            tools.execute(source, path, main)
        else:
            exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)
    except SystemExit as request:
        return _exit_status(request.code)
    except KeyboardInterrupt as interrupt:
        _show(interrupt, path)
        _end_by_interrupt()
    except BaseException as error:
        return _show(error, path)
    return 0


def _exit_status(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    print(code, file=sys.stderr)
    return 1


def _show(error: BaseException, path: str) -> int:
    """Print what the program did not catch, through the hook it may have set; return the exit status."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename != path:
        trace = trace.tb_next  # ours, and the event loop's
    error.__traceback__ = trace
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit as request:
        return _exit_status(request.code)
    except BaseException as fault:
        fault.__context__ = None
        fault.__traceback__ = fault.__traceback__.tb_next if fault.__traceback__ else None
        _write_error("Error in sys.excepthook:\n")
        sys.__excepthook__(type(fault), fault, fault.__traceback__)
        _write_error("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, error.__traceback__)
    return 1


def _write_error(text: str) -> None:
    with contextlib.suppress(Exception):
        sys.stderr.write(text)


def _end_by_interrupt() -> None:
    """Die of SIGINT, so that whoever waits can tell it from an error."""
    _flush(sys.stdout, sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _finish(main: types.ModuleType) -> int:
    _end_by_its_own(hooks.run_exit_functions)
    failed = _flush(sys.stdout, sys.stderr)
    _let_go(main)
    return _flush(sys.__stdout__, sys.__stderr__) or failed


def _end_by_its_own(step: Callable[[], object]) -> None:
    try:
        step()
    except BaseException:
        traceback.print_exc()


def _let_go(main: types.ModuleType) -> None:
    """Drop the program's names, private ones first (`_PyModule_ClearDict`), and what only cycles hold."""
    names = main.__dict__
    for name in [name for name in names if name[:1] == "_" and name != "__builtins__"]:
        names[name] = None
    for name in [name for name in names if name != "__builtins__"]:
        names[name] = None
    for name in list(itertools.takewhile(lambda name: name != "__main__", reversed(sys.modules))):
        sys.modules.pop(name, None)
    gc.collect()


def _flush(*streams: TextIO | None) -> int:
    """Return 120, as CPython does, if what was printed could not be written."""
    failed = 0
    for stream in streams:
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException as error:
            failed = _FLUSH_FAILED
            _tell_ignored(error, stream)
    return failed


def _tell_ignored(error: BaseException, where: object) -> None:
    with contextlib.suppress(Exception):
        said = "".join(traceback.format_exception_only(type(error), error))
        _write_error(f"Exception ignored in: {where!r}\n{said}")
