"""A cold start with variables to keep or tools to call: what a warm child does, from a fresh Python."""

from __future__ import annotations

import sys

from . import script
from .state import Keeper, Plan

_NO_PLAN = "-"


def main() -> None:
    """Run the program that the command line names after the plans. Does not return."""
    _, state, tools, path, *args = sys.argv
    callable_tools = None if tools == _NO_PLAN else _tools(tools)
    package = __name__.rpartition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    keeper = None if state == _NO_PLAN else Keeper(Plan.parse(state))
    script.run(path, args, keeper, callable_tools)


def _tools(plan: str) -> script.Tools:
    from . import tools  # it needs a lot of the standard library, which takes longer than most programs

    return tools.Tools(tools.Plan.parse(plan))
