"""The guest package as one zip: it travels into the sandbox as bytes, whoever may read our own folders."""

import functools
import io
import zipfile
from pathlib import Path

PLACE = "/guest.zip"
"""Where the sandbox sees it."""
BOOT = (
    f"import sys; sys.path.insert(0, {PLACE!r}); from guest.zygote import main; del sys.path[0]; "
    "main(int(sys.argv[1]))"
)

_PACKAGE = Path(__file__).parents[1] / "guest"


@functools.cache
def guest_zip() -> bytes:
    """Return the package `guest`, compressed: less than the 64 KiB that fit a pipe."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_PACKAGE.glob("*.py")):
            archive.writestr(f"guest/{path.name}", path.read_bytes())
    return buffer.getvalue()
