"""What Millrace needs of the machine beside Python: bubblewrap, around which local sandboxes are built.

Run by `make setup`. Where it may not install, it says what to type and goes on: everything but the
local sandbox works without.
"""

import shutil
import sys

from infra.errors import Misconfigured
from infra.system_packages import install

_NEEDED = {"bwrap": "bubblewrap"}
"""Executables, each with the Debian package that has it."""


def main() -> None:
    """Install what is missing."""
    missing = [package for tool, package in _NEEDED.items() if shutil.which(tool) is None]
    try:
        install(missing)
    except Misconfigured as error:
        print(f"Local sandboxes will not start: {error}", file=sys.stderr)  # noqa: T201 - a set-up step


if __name__ == "__main__":
    main()
