"""What matplotlib does otherwise in a sandbox; part of the guest environment, whose matplotlib calls it.

`plt.show()` saves a file: there is no screen, and people expect to find their figure. And the list of fonts,
which takes seconds to make, is brought along.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any


def bring_font_list() -> None:
    """Put the list that was made with the environment where matplotlib looks for it."""
    import matplotlib  # ours is called from inside of it

    with contextlib.suppress(OSError):
        shutil.copytree(Path(sys.prefix) / "matplotlib", matplotlib.get_cachedir(), dirs_exist_ok=True)


def save_on_show() -> None:
    """Make pyplot's `show` save every open figure as `figure-N.png` in the current folder and close it."""
    from matplotlib import pyplot

    def show(*_args: Any, **_options: Any) -> None:
        for number in pyplot.get_fignums():
            pyplot.figure(number).savefig(_free_name())
        pyplot.close("all")

    pyplot.show = show


def _free_name() -> str:
    number = 1
    while os.path.lexists(f"figure-{number}.png"):
        number += 1
    return f"figure-{number}.png"
