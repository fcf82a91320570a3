"""The guest package as one zip: it travels into the sandbox as bytes, whoever may read our own folders.

With it goes cloudpickle, which is pure Python: saving variables shall not hang on what the guest has.
"""

import functools
import importlib.util
import io
import zipfile
from pathlib import Path

_PACKAGE = Path(__file__).parent / "guest"


@functools.cache
def guest_zip() -> bytes:
    """Return the package `guest`, compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_PACKAGE.glob("*.py")):
            archive.writestr(f"guest/{path.name}", path.read_bytes())
        for path in sorted(_cloudpickle().glob("*.py")):
            archive.writestr(f"cloudpickle/{path.name}", path.read_bytes())
    return buffer.getvalue()


def guest_source(name: str) -> bytes:
    """Return one file of the package."""
    return (_PACKAGE / name).read_bytes()


def _cloudpickle() -> Path:
    """Return where our own is, without importing it."""
    spec = importlib.util.find_spec("cloudpickle")
    assert spec is not None and spec.submodule_search_locations, "cloudpickle is a package we depend on"
    return Path(spec.submodule_search_locations[0])
