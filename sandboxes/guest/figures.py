"""`plt.show()` saves a file: there is no screen, and people expect to find their figure."""

from __future__ import annotations

import os
from typing import Any


def save_on_show() -> None:
    """Make pyplot's `show` save every open figure as `figure-N.png` in the current folder and close it."""
    from matplotlib import pyplot  # only where the zygote has imported it

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
