"""Set-up of this machine for sandboxes: `python -m sandboxes.install [--all | CODE ...] [--guest]`.

Bubblewrap, the languages asked for, and warm caches for every language that is there; the guest environment
when asked for, and nothing else when that is all that is asked for. Safe to repeat, and quick when there is
nothing to do.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.system_packages import install
from sandboxes.guest_environment import guest_folder, make_guest
from sandboxes.languages import BASH_COMPANIONS
from sandboxes.reach import NOBODY
from sandboxes.toolchain import Toolchain
from sandboxes.toolchains import find_toolchains, find_tools
from sandboxes.warm_caches import make_cache
from schemas.languages import LANGUAGE_CODES


def main(arguments: list[str] | None = None) -> int:
    """Install what is asked for; the exit status is 1 if some of it could not be had."""
    asked = _parse(arguments)
    caches = cache_folder(os.environ)
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    try:
        if asked.languages or not asked.guest:
            install(wanted_packages(find_tools(uid), asked.languages))
            make_caches(find_toolchains(uid, caches), caches)
        if asked.guest:
            _make_guest(find_tools(uid)["py"], caches)
    except Misconfigured as error:
        _say(str(error))
        return 1 if asked.languages or asked.guest else 0
    return _report(find_tools(uid), asked.languages)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandboxes.install", description=__doc__)
    parser.add_argument("languages", nargs="*", metavar="CODE", help=", ".join(LANGUAGE_CODES))
    parser.add_argument("--all", action="store_true", help="all languages")
    parser.add_argument("--guest", action="store_true", help="numpy, pandas and other packages for Python")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.languages) - set(LANGUAGE_CODES):
        parser.error(f"no such language: {', '.join(sorted(unknown))}; known are {', '.join(LANGUAGE_CODES)}")
    asked.languages = list(LANGUAGE_CODES) if asked.all else asked.languages
    return asked


def wanted_packages(toolchains: Mapping[str, Toolchain], asked: Collection[str]) -> list[str]:
    """Return the Debian packages that provide bubblewrap and what the languages asked for lack."""
    tools = {
        "bwrap": "bubblewrap",
        **(BASH_COMPANIONS if "bash" in asked else {}),
        **({"npm": "npm"} if "ts" in asked else {}),  # it installs what checks types
    }
    packages = [package for tool, package in tools.items() if shutil.which(tool) is None]
    return list(dict.fromkeys([*packages, *(name for code in asked for name in toolchains[code].packages)]))


def make_caches(toolchains: Mapping[str, Toolchain], caches: Path) -> None:
    """Make every cache that is not there yet; without one the language still runs, only slower."""
    for toolchain in toolchains.values():
        try:
            if toolchain.note and not toolchain.missing:
                _say(f"Making what {toolchain.code} lacks in {caches} ...")
                make_cache(toolchain, caches)
        except (Misconfigured, OSError) as error:
            _say(f"No cache for {toolchain.code}: {error}")


def _make_guest(python: Toolchain, caches: Path) -> None:
    if python.missing:
        raise Misconfigured(f"No Python for sandboxes: {python.missing}")
    folder = guest_folder(python, caches)
    if not folder.is_dir():
        _say(f"Installing Python packages for sandboxes in {folder} ...")
    make_guest(python, caches)
    for old in set(caches.glob("guest-*")) - {folder}:
        shutil.rmtree(old)


def _report(toolchains: Mapping[str, Toolchain], asked: Collection[str]) -> int:
    missing = [toolchains[code] for code in asked if toolchains[code].missing]
    for toolchain in missing:
        _say(f"{toolchain.code}: {toolchain.missing}")
    return 1 if missing else 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
