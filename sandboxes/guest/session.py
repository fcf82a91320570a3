"""A cold start with variables to keep: what `script` and `state` do in a warm child, from a fresh Python."""

from __future__ import annotations

import sys

from . import script
from .state import Keeper, Plan


def main() -> None:
    """Run the program that the command line names after the plan. Does not return."""
    _, plan, path, *args = sys.argv
    package = __name__.rpartition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    script.run(path, args, Keeper(Plan.parse(plan)))
