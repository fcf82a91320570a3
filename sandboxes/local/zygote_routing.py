"""Which zygote suits a program: a cheap look at what it imports.

A wrong guess costs time, never the result: the plain child imports from disk what the other has warm.
"""

import re
from collections.abc import Collection
from typing import Literal

Flavour = Literal["plain", "heavy"]

HEAVY_MODULES = ("numpy", "pandas", "matplotlib.pyplot")
"""What the heavy zygote imports, where the guest has it."""

_BUILT_ON_THEM = (
    "seaborn",
    "scipy",
    "sklearn",
    "statsmodels",
    "skimage",
    "networkx",
    "pyarrow",
    "xarray",
    "PIL",
)

_STATEMENT = re.compile(r"^[^\S\n]*(?:import|from)[^\S\n]+([^\n#;]+)", re.MULTILINE)
_CALL = re.compile(r"""\b(?:__import__|import_module)\(\s*['"]([\w.]+)""")
_SEMICOLON = re.compile(r";[^\S\n]*")


def flavour_of(code: str, warm: Collection[str] = HEAVY_MODULES) -> Flavour:
    """Return `heavy` if `code` seems to import one of `warm` or something built on them.

    Read by pattern, not parsed: an import in a string counts too, one made up at run time does not.
    """
    tops = {name.partition(".")[0] for name in warm}
    if not tops:
        return "plain"
    return "heavy" if not (tops | set(_BUILT_ON_THEM)).isdisjoint(_imported(code)) else "plain"


def _imported(code: str) -> set[str]:
    """Return the top-level names in import statements and calls."""
    lists = _STATEMENT.findall(_SEMICOLON.sub("\n", code))
    modules = [part.split(None, 1)[0] for names in lists for part in names.split(",") if part.strip()]
    return {name.partition(".")[0] for name in [*modules, *_CALL.findall(code)]}
