"""What tests need beside what is in wheels: servers, a browser, a Go, npm with real clients and pages.

For CI. Without them those tests are skipped on a laptop and fail in CI.
"""

import os
import shutil
import sys

from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.setup.go import get_go
from infra.setup.pages import fetch_pages
from infra.setup.s3_server import s3_server
from infra.system_packages import install

_PACKAGES = ("redis-server", "chromium")
"""The oldest Redis we support (the wheel's Valkey is the newest), and a browser that looks at pages."""


def main() -> int:
    """Install what is missing; return 1 if something could not be had."""
    status = 0
    for get in (lambda: install(_PACKAGES), _npm, _pages, get_go, s3_server):
        try:
            get()
        except Misconfigured as error:
            sys.stderr.write(f"{error}\n")
            status = 1
    return status


def _npm() -> None:
    """Some packages of node bring npm along and bear no other beside them."""
    if shutil.which("npm") is None:
        install(("npm",))


def _pages() -> None:
    fetch_pages(cache_folder(os.environ))


if __name__ == "__main__":
    sys.exit(main())
