"""The servers that tests talk to, beside what is in wheels: `make services`, and CI before it tests.

Without them those tests are skipped on a laptop and fail in CI.
"""

import sys

from infra.errors import Misconfigured
from infra.setup.s3_server import s3_server
from infra.system_packages import install

_PACKAGES = ("redis-server",)
"""The oldest Redis we support; the wheel's Valkey is the newest."""


def main() -> int:
    """Install what is missing; return 1 if something could not be had."""
    status = 0
    for get in (lambda: install(_PACKAGES), s3_server):
        try:
            get()
        except Misconfigured as error:
            sys.stderr.write(f"{error}\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
