"""What this host allows to make quicker: another linker, shared standard libraries.

Flags that any compiler of the language knows are in the table of languages; these need something to
be installed. Median of hello world in a cold bubblewrap on two cores: Rust 220 to 80 ms, D 190 to
160, Fortran 61 to 46.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from sandboxes.toolchain import Toolchain, with_flags


def fit(toolchain: Toolchain) -> Toolchain:
    """Return `toolchain` as quick as this host allows without caches of ours."""
    adapt = _FITTINGS.get(toolchain.code)
    return adapt(toolchain) if adapt else toolchain


def _has_gold() -> bool:
    return shutil.which("ld.gold", path="/usr/bin:/usr/local/bin") is not None


def _gnu(toolchain: Toolchain) -> Toolchain:
    return with_flags(toolchain, ["-fuse-ld=gold"]) if _has_gold() else toolchain


def _rust(toolchain: Toolchain) -> Toolchain:
    linker = ["-C", "link-arg=-fuse-ld=gold"] if _has_gold() else []
    shared = ["-C", "prefer-dynamic", "-C", "rpath"] if _has_shared_std(toolchain) else []
    return with_flags(toolchain, [*linker, *shared])


def _has_shared_std(toolchain: Toolchain) -> bool:
    """Say whether libstd is there as a shared library: in rustup's sysroot, or where Debian has it."""
    sysroot = Path(toolchain.paths["rustc"]).parent.parent
    return any(sysroot.glob("lib/rustlib/*/lib/libstd-*.so"))


def _d(toolchain: Toolchain) -> Toolchain:
    return with_flags(toolchain, ["--linker=gold"]) if _has_gold() else toolchain


_FITTINGS: Mapping[str, Callable[[Toolchain], Toolchain]] = {
    "c": _gnu,
    "cpp": _gnu,
    "f90": _gnu,
    "rs": _rust,
    "d": _d,
}
