"""What the zygote imports and touches once, so that no child pays for it after the fork.

A first `compile()` alone costs about 2 ms: tables of the compiler, codecs and the text layer are made on use.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import sys
import tempfile
import traceback
from typing import Sequence  # noqa: UP035  3.9

from . import kernel

_STANDARD_LIBRARY = (
    "ast asyncio atexit base64 bisect collections concurrent.futures concurrent.futures.thread "
    "contextlib copy csv ctypes dataclasses datetime decimal enum fractions functools glob hashlib "
    "heapq inspect io itertools json linecache locale logging math multiprocessing.process operator "
    "os pathlib pickle queue random re shutil signal socket statistics string struct subprocess "
    "tempfile textwrap threading time traceback types typing urllib.parse uuid warnings weakref zlib"
)
"""What most programs use; each module more costs every waiting child its share of memory."""

_TOUCH_PYTHON = """
class A:
    x: int = 1
def f(a, *b, **c):
    return [i for i in range(3) if i] + [f"{a!r:>5}"], {k: v for k, v in c.items()}, lambda: (yield)
with open("/dev/null", "w") as n:
    print("é", f(1, b=2), A(), 1.5, file=n, flush=True)
try:
    f(1) / 0
except TypeError as e:
    pass
"""

_TOUCH_PANDAS = """
import io, numpy, pandas
frame = pandas.DataFrame({"a": [1, 2, 3], "b": [1.5, 2, 3], "c": list("xyz")})
str(frame), str(frame.describe()), frame.groupby("c").sum(), pandas.read_csv(io.StringIO(frame.to_csv()))
numpy.linalg.inv(numpy.eye(3) + 1), str(numpy.random.rand(3))
"""

_TOUCH_MATPLOTLIB = """
import io, matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot([1, 2], label="x"), axes.set_title("x"), axes.legend()
figure.savefig(io.BytesIO(), format="png")
plt.close("all")
"""


def preload(modules: Sequence[str]) -> list[str]:
    """Import the standard library's usual parts and `modules`; return those of `modules` that exist here."""
    for name in _STANDARD_LIBRARY.split():
        _try_import(name)
    return [name for name in modules if _try_import(name)]


def touch() -> None:
    """Run trusted snippets through everything a child will go through."""
    _run(_TOUCH_PYTHON)
    if "pandas" in sys.modules:
        _run(_TOUCH_PANDAS)
    if "matplotlib.pyplot" in sys.modules:
        _run(_TOUCH_MATPLOTLIB)
    try:
        compile("(", "<warmth>", "exec")
    except SyntaxError:
        traceback.format_exc()


def freeze() -> None:
    """Keep the collector off what is there, so that children share these pages instead of copying them.

    What imports left behind is given back first, or every child has its share of pages that hold nothing;
    and names of temporary files that a snippet drew, or all children would draw the same.
    """
    tempfile._name_sequence = None  # type: ignore[attr-defined]
    tempfile.tempdir = None
    gc.collect()
    kernel.trim_heap()
    gc.freeze()
    gc.disable()


def _try_import(name: str) -> bool:
    # A broken package of the guest may raise anything; it must not cost us the rest.
    with contextlib.suppress(Exception):
        importlib.import_module(name)
        return True
    return False


def _run(source: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, "<warmth>", "exec", dont_inherit=True), {"__name__": "__warmth__"})
