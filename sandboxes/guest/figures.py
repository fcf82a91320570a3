"""`plt.show()` saves a file: there is no screen, and people expect to find their figure."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

_SETTINGS = "/tmp/matplotlib"  # noqa: S108 - the sandbox's own


def bring_font_list() -> None:
    """Give matplotlib the list of fonts made with the guest environment, or it looks for seconds."""
    os.environ["MPLCONFIGDIR"] = _SETTINGS
    with contextlib.suppress(OSError):
        shutil.copytree(Path(sys.prefix) / "matplotlib", _SETTINGS)


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
