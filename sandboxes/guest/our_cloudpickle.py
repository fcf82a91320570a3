"""cloudpickle as this package uses it: a copy of its own, and functions that know `__main__`.

The copy is in `sys.modules` only while it works, and so not in the way of one that the program imports.
Functions made in `__main__` get `__main__` itself as their globals, as if they had been defined in this run;
cloudpickle left alone would give them copies of the variables they name.
"""

from __future__ import annotations

import _io
import builtins
import contextlib
import gc
import pickle
import sys
import types
from pathlib import Path
from typing import Any, Iterator  # noqa: UP035  3.9

_STANDARD = (sys.__stdin__, sys.__stdout__, sys.__stderr__)

_IN_MEMORY = (_io.BytesIO, _io.StringIO)
_ours: dict[str, types.ModuleType] = {}


@contextlib.contextmanager
def working(main: types.ModuleType) -> Iterator[None]:
    """Have our cloudpickle in `sys.modules`, and the collector, which would look at every new object, off."""
    theirs = _take_cloudpickle()
    collecting = gc.isenabled()
    gc.disable()
    if not _ours:
        _import_ours()
    sys.modules.update(_ours)
    try:
        yield
    finally:
        _take_cloudpickle()
        sys.modules.update(theirs)
        main.__dict__["__builtins__"] = builtins  # cloudpickle puts its own there
        if collecting:
            gc.enable()


def _take_cloudpickle() -> dict[str, types.ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "cloudpickle"]
    return {name: sys.modules.pop(name) for name in names}


def _import_ours() -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))  # it lies beside this package
    try:
        import cloudpickle  # type: ignore[import-untyped]  # noqa: F401
    finally:
        del sys.path[0]
    _ours.update(_take_cloudpickle())


def version() -> str:
    """Return its version, once it was used."""
    return str(_ours["cloudpickle"].__version__)


def pickler_of(main: types.ModuleType, file: Any) -> Any:
    """Return cloudpickle's pickler with `main` as the one namespace of all functions made in it."""
    import cloudpickle  # ours, while `_working`

    class Globals:
        def __reduce__(self) -> tuple[Any, ...]:
            return vars, (main,)

    these = Globals()

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _io._IOBase) and not isinstance(obj, _IN_MEMORY) and not _is_standard(obj):
                raise pickle.PicklingError("an open file")
            return super().reducer_override(obj)

        def _dynamic_function_reduce(self, func: types.FunctionType) -> tuple[Any, ...]:
            make, args, state, *rest = super()._dynamic_function_reduce(func)
            if func.__globals__ is main.__dict__:
                args = (args[0], these, *args[2:])
                state[1]["__globals__"] = {}
            return (make, args, state, *rest)

    return Pickler(file, protocol=pickle.HIGHEST_PROTOCOL)


def _is_standard(file: Any) -> bool:
    return any(file is known for known in _STANDARD)
