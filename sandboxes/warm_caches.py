"""Caches that make compilers quick, and what they lack, made once by set-up and shown to sandboxes read-only.

Median of hello world in a cold bubblewrap on two cores: Go 10 s (no cache at all) to 130 ms, C++ 330
to 108 ms, Java 390 to 250 ms. Each cache fits exactly one build of its compiler, which its folder's
name tells; a folder that exists is complete, for it is made beside and renamed.
"""

import os
import platform
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from infra.built_folder import built_folder
from infra.errors import Misconfigured
from sandboxes.languages import JAVAC_JVM, recipe_for
from sandboxes.prestart import JAVA_WAITER, java_prestart
from sandboxes.toolchain import Toolchain, with_binds, with_env, with_flags

Make = Callable[[Toolchain, Path], None]
Use = Callable[[Toolchain, str], Toolchain]


@dataclass(frozen=True, slots=True)
class WarmCache:
    """How one language's cache is made, and how its recipe uses it."""

    make: Make
    use: Use
    gain: str
    """What is slow without it, for `doctor`."""
    made_of: tuple[Path, ...] = ()
    """Files of ours that are in it: when they change, so does its name."""


def cache_of(toolchain: Toolchain, caches: Path) -> Path:
    """Return the folder of this toolchain's cache, whether it exists or not."""
    ours = "".join(path.read_text() for path in WARM_CACHES[toolchain.code].made_of)
    return caches / f"{toolchain.code}-{toolchain.version}-{toolchain.fingerprint(ours)}"


def use_caches(toolchain: Toolchain, caches: Path) -> Toolchain:
    """Return `toolchain` with its warm cache where that exists, else with a note on making it."""
    cache = WARM_CACHES.get(toolchain.code)
    if cache is None:
        return toolchain
    folder = cache_of(toolchain, caches)
    if not folder.is_dir():
        return replace(toolchain, note=f"{cache.gain}; `make languages` warms it")
    return with_binds(cache.use(toolchain, str(folder)), str(folder))


def make_cache(toolchain: Toolchain, caches: Path) -> bool:
    """Make the cache of a toolchain that does not use it yet; False if there is nothing to make.

    Raises `Misconfigured` if the compiler fails.
    """
    cache = WARM_CACHES.get(toolchain.code)
    if cache is None or toolchain.missing or not toolchain.note:
        return False
    with built_folder(cache_of(toolchain, caches)) as folder:
        cache.make(toolchain, folder)
    return True


def _call(command: list[str], env: Mapping[str, str], folder: Path) -> None:
    result = subprocess.run(
        command, env={**os.environ, **env}, cwd=folder, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise Misconfigured(f"{command[0]} failed while its cache was made: {result.stderr[-2000:]}")


def _make_go(toolchain: Toolchain, folder: Path) -> None:
    # Since 1.20 Go ships no compiled standard library (its release notes, "Distribution").
    _call([toolchain.paths["go"], "build", "std"], {**toolchain.recipe.env, "GOCACHE": str(folder)}, folder)


def _use_go(toolchain: Toolchain, folder: str) -> Toolchain:
    return with_env(toolchain, GOCACHE=folder)


_FIRST_HEADERS = ("iostream", "vector", "string", "algorithm", "cstdio", "map", "bits/stdc++.h")
"""g++ takes one precompiled header at most, and only for the first #include of a file (GCC manual,
"Using Precompiled Headers"). Each of these is the header itself and nothing else, so that programs
mean the same with and without."""


def _make_cpp(toolchain: Toolchain, folder: Path) -> None:
    ((compiler, *arguments),) = toolchain.recipe.build
    flags = [word for word in arguments if word.startswith(("-std", "-O"))]
    (folder / "bits").mkdir()
    for header in _FIRST_HEADERS:
        source = folder / "only.h"
        source.write_text(f"#include <{header}>\n")
        _call([compiler, *flags, "-x", "c++-header", "-o", f"{header}.gch", str(source)], {}, folder)
    source.unlink()


def _use_cpp(toolchain: Toolchain, folder: str) -> Toolchain:
    return with_flags(toolchain, ["-I", folder])


_JAVA_WARM_UP = """
import java.util.*;
public class WarmUp {
    record Point(int x, int y) {}
    public static void main(String[] args) {
        List<Point> points = new ArrayList<>();
        for (int i = 0; i < 3; i++) points.add(new Point(i, i * i));
        points.stream().map(p -> "Point " + p.x()).forEach(System.out::println);
    }
}
"""


def _make_java(toolchain: Toolchain, folder: Path) -> None:
    """Keep the classes that javac loads as a dynamic archive (JEP 350), and the waiter beside them."""
    javac = shutil.which(toolchain.paths["javac"]) or "javac"
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "WarmUp.java")
        source.write_text(_JAVA_WARM_UP)
        archive = f"-J-XX:ArchiveClassesAtExit={folder}/javac.jsa"
        _call([javac, *(f"-J{flag}" for flag in JAVAC_JVM), archive, str(source)], {}, Path(scratch))
        _make_java_waiter(javac, folder, Path(scratch))


def _make_java_waiter(javac: str, folder: Path, scratch: Path) -> None:
    _call([javac, "-d", str(scratch / "classes"), str(JAVA_WAITER)], {}, scratch)
    with zipfile.ZipFile(folder / "waiter.jar", "w") as jar:
        for path in sorted((scratch / "classes").rglob("*.class")):
            jar.write(path, path.relative_to(scratch / "classes"))


def _use_java(toolchain: Toolchain, folder: str) -> Toolchain:
    # Silent: a virtual machine that finds the archive unfit goes on without, and need not tell the user.
    quick = with_flags(toolchain, [f"-J-XX:SharedArchiveFile={folder}/javac.jsa", "-J-Xlog:disable"])
    return replace(quick, prestart=java_prestart(toolchain.recipe.run, folder))


_TYPE_CHECKER = Path(__file__).parent.parent / "infra" / "typescript"
_PINS = (_TYPE_CHECKER / "package.json", _TYPE_CHECKER / "package-lock.json")


def _make_ts(_: Toolchain, folder: Path) -> None:
    """Install TypeScript and the types of node's library, pinned by hashes."""
    for path in _PINS:
        shutil.copy(path, folder)
    _call(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], {}, folder)
    checker = _type_checker(folder)
    if checker is None:
        raise Misconfigured(f"TypeScript has no compiler for {platform.machine()}.")
    _call([checker, "--version"], {}, folder)


def _use_ts(toolchain: Toolchain, folder: str) -> Toolchain:
    _, *flags = recipe_for("ts").check
    types = ("--typeRoots", f"{folder}/node_modules/@types")
    check = (str(_type_checker(Path(folder))), *types, *flags)
    return replace(toolchain, recipe=replace(toolchain.recipe, check=check))


def _type_checker(folder: Path) -> str | None:
    """Return the compiler itself, for its launcher is a script that starts a node first."""
    found = sorted(folder.glob("node_modules/@typescript/typescript-*/lib/tsc"))
    return str(found[0]) if found else None


WARM_CACHES: Mapping[str, WarmCache] = {
    "go": WarmCache(_make_go, _use_go, "each build compiles Go's standard library first, many seconds"),
    "cpp": WarmCache(_make_cpp, _use_cpp, "each build parses the standard headers, three times as slow"),
    "java": WarmCache(
        _make_java, _use_java, "javac starts without an archive of its classes", (JAVA_WAITER,)
    ),
    "ts": WarmCache(_make_ts, _use_ts, "its types cannot be checked on request (check_types)", _PINS),
}
