"""Measures functions and files, for the ratchet in test_lengths.py."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from tests.house.repository import ROOT, our_modules, text_of

FUNCTION_LINES_MAX = 40
FILE_LINES_MAX = 260
_ALLOWED = ROOT / "tests/house/lengths.json"


def allowed() -> dict[str, int]:
    """Return what may be longer than the rule, and how long."""
    return json.loads(_ALLOWED.read_text()) if _ALLOWED.exists() else {}


def measured() -> dict[str, int]:
    """Return what is longer than the rule now, by `path` or `path:function`."""
    long_files = {
        str(path): lines for path in our_modules() if (lines := text_of(path).count("\n")) > FILE_LINES_MAX
    }
    long_functions = {
        name: lines
        for path in our_modules()
        for name, lines in _functions(path)
        if lines > FUNCTION_LINES_MAX
    }
    return dict(sorted((long_files | long_functions).items()))


def all_function_lengths() -> list[int]:
    """Return the length of every function, its docstring left out."""
    return [lines for path in our_modules() for _, lines in _functions(path)]


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path}:{node.name}", _lines(node)


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count from `def` to the end; words of explanation cost nothing."""
    first = function.body[0]
    docstring = 0
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        docstring = (first.end_lineno or first.lineno) - first.lineno + 1
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


if __name__ == "__main__":
    _ALLOWED.write_text(json.dumps(measured(), indent=2) + "\n")
