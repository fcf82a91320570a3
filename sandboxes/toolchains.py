"""Finding the compilers and interpreters of this host, for sandboxes of an unprivileged uid.

A sandbox sees /usr and whatever a toolchain names in `binds`, all read-only, and it is made by a
process that may not read every folder: a toolchain in a private home counts only where that uid can
reach it. Tools are asked for their version once, all at the same time.
"""

import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

from infra.system_packages import install_command
from sandboxes.guest_environment import guest_folder, use_guest
from sandboxes.languages import RECIPES, Recipe
from sandboxes.prestart import with_prestart
from sandboxes.reach import is_reachable
from sandboxes.toolchain import Toolchain
from sandboxes.toolchain_fitting import fit
from sandboxes.toolchain_homes import Home, find_home
from sandboxes.warm_caches import use_caches

USUAL_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/usr/local/go/bin")

_ALWAYS_VISIBLE = "/etc/alternatives"
"""Debian's /usr/bin/java and many more are links through it."""


def find_toolchains(uid: int, caches: Path, folders: Sequence[str] | None = None) -> dict[str, Toolchain]:
    """Return every language's toolchain as a sandbox of `uid` can use it, in the order of the table.

    `caches` is where set-up keeps compiler caches and the guest environment; what is there is used.
    `folders`: see `find_tools`.
    """
    found = find_tools(uid, folders)
    guest = guest_folder(found["py"], caches)
    here = {code: each for code, each in found.items() if not each.missing}
    adapted = {code: use_caches(with_prestart(fit(each)), caches) for code, each in here.items()}
    if guest.is_dir():
        adapted |= {code: use_guest(adapted[code], guest) for code in ("py", "bash") if code in adapted}
    return {**found, **adapted}


def find_tools(uid: int, folders: Sequence[str] | None = None) -> dict[str, Toolchain]:
    """Return every language's toolchain with nothing but its tools found.

    `folders` are searched in order; by default PATH, the usual places, and last the Python that runs this.
    """
    if folders is None:
        folders = [*os.get_exec_path(), *USUAL_FOLDERS, f"{sys.base_prefix}/bin"]
    with ThreadPoolExecutor(max_workers=len(RECIPES)) as pool:
        found = pool.map(lambda recipe: _find_toolchain(recipe, uid, folders), RECIPES)
        return {each.code: each for each in found}


def _find_toolchain(recipe: Recipe, uid: int, folders: Sequence[str]) -> Toolchain:
    homes = {tool: home for tool in recipe.tools if (home := _first_home(tool, uid, folders))}
    lacking = [tool for tool in recipe.tools if tool not in homes]
    if lacking:
        return _lacking(recipe, lacking)
    paths = {tool: home.executable for tool, home in homes.items()}
    first = next(iter(paths.values()))
    version = tool_version(first, recipe.version)
    if not version:
        return Toolchain(recipe, missing=f"{first} does not run: asked for its version, it told none.")
    return Toolchain(with_paths(recipe, paths), version, paths, _binds(recipe, homes.values()))


def _first_home(tool: str, uid: int, folders: Sequence[str]) -> Home | None:
    """Return the first usable place of `tool`: a program (no script that picks one) which `uid` may run."""
    for path in candidates(tool, folders):
        home = find_home(tool, path)
        if home and all(is_reachable(Path(part), uid) for part in (home.executable, *home.binds)):
            return home
    return None


def candidates(tool: str, folders: Sequence[str]) -> Iterator[Path]:
    """Yield the executables called `tool` in `folders`, each folder once."""
    for folder in dict.fromkeys(folders):
        path = Path(folder, tool)
        if os.access(path, os.X_OK) and path.is_file():
            yield path


def with_paths(recipe: Recipe, paths: Mapping[str, str]) -> Recipe:
    """Return `recipe` with the tools that begin its command lines replaced by `paths`.

    No host has what checks types by itself; where set-up installed it, `warm_caches` puts it in again.
    """
    return replace(
        recipe,
        check=(),
        build=tuple((paths.get(command[0], command[0]), *command[1:]) for command in recipe.build),
        run=(paths.get(recipe.run[0], recipe.run[0]), *recipe.run[1:]),
    )


def _binds(recipe: Recipe, homes: Collection[Home]) -> tuple[str, ...]:
    patterns = [pattern.removeprefix("/") for pattern in (_ALWAYS_VISIBLE, *recipe.host_paths)]
    existing = [str(path) for pattern in patterns for path in sorted(Path("/").glob(pattern))]
    return tuple(dict.fromkeys([*existing, *(bind for home in homes for bind in home.binds)]))


def _lacking(recipe: Recipe, tools: Sequence[str]) -> Toolchain:
    packages = tuple(dict.fromkeys(package for tool in tools for package in recipe.tools[tool].split()))
    missing = f"{' and '.join(tools)} not found; {install_command(packages)}"
    return Toolchain(recipe, missing=missing, packages=packages)


_VERSION = re.compile(r"\d+(?:\.\d+)+")


@cache
def tool_version(executable: str, arguments: tuple[str, ...], timeout_s: float = 10.0) -> str:
    """Return the version that a tool tells, empty if it does not run or tells none."""
    try:
        told = subprocess.run(
            [executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = _VERSION.search(told.stdout) if told.returncode == 0 else None
    return match[0] if match else ""
