"""Finding tools on a host that the test makes up: folders with programs in them, open or closed."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sandboxes.languages import recipe_for
from sandboxes.reach import NOBODY, is_reachable
from sandboxes.toolchain import Toolchain
from sandboxes.toolchain_homes import find_home
from sandboxes.toolchains import candidates, find_toolchains, find_tools, tool_version
from sandboxes.warm_caches import cache_of, make_cache, use_caches
from schemas.languages import LANGUAGE_CODES

SHELL = Path(shutil.which("sh") or "/bin/sh").resolve()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """An empty folder that every user may walk to."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


def script(path: Path, text: str) -> Path:
    """Make an executable script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_nothing_installed_is_told_with_the_command_that_installs_it(host: Path) -> None:
    """Every language is listed, and the names are those of Debian."""
    found = find_tools(NOBODY, [str(host)])
    assert list(found) == list(LANGUAGE_CODES)
    status = found["d"].status()
    assert not status.available
    assert status.missing.startswith("ldc2 and stdbuf not found; ")
    assert status.missing.endswith("ldc gcc libc6-dev coreutils")
    assert found["d"].packages == ("ldc", "gcc", "libc6-dev", "coreutils")


def test_missing_languages_survive_the_search_for_caches(host: Path) -> None:
    """A host with nothing at all is an answer, not a failure."""
    found = find_toolchains(NOBODY, host / "caches", [str(host)])
    assert [code for code, toolchain in found.items() if not toolchain.missing] == []


def test_tools_of_this_host_get_absolute_paths_and_versions(host: Path) -> None:
    """At least Python and the shell are on every machine that can run this."""
    found = find_toolchains(os.geteuid(), host)
    for code in ("py", "bash"):
        assert found[code].missing == ""
        assert found[code].version[0].isdigit()
        assert Path(found[code].recipe.run[0]).is_absolute()


def test_a_script_that_picks_a_version_is_passed_over(host: Path) -> None:
    """Version managers' shims need a home that sandboxes do not have."""
    assert find_home("node", script(host / "node", "echo v99.0.0")) is None


def test_a_program_outside_usr_counts_only_if_it_can_say_what_it_needs(host: Path) -> None:
    """Showing a guessed folder could show a home."""
    shutil.copy(SHELL, host / "php")
    assert find_home("php", host / "php") is None


def test_a_single_file_outside_usr_is_shown_alone(host: Path) -> None:
    """Its folder stays hidden."""
    shutil.copy(SHELL, host / "esbuild")
    home = find_home("esbuild", host / "esbuild")
    assert home is not None
    assert home.binds == (str(host / "esbuild"),)


def test_a_tool_in_a_closed_folder_counts_for_its_owner_only(host: Path) -> None:
    """/root is closed to the user that builds sandboxes."""
    closed = host / "closed"
    closed.mkdir(mode=0o700)
    shutil.copy(SHELL, closed / "esbuild")
    assert is_reachable(closed / "esbuild", os.geteuid())
    assert not is_reachable(closed / "esbuild", NOBODY)


@pytest.mark.parametrize(("mode", "reachable"), [(0o755, True), (0o711, False), (0o744, False)])
def test_a_program_must_be_readable_and_executable_by_others(host: Path, mode: int, reachable: bool) -> None:
    """A mode that lets others only run it, or only read it, does not do."""
    program = script(host / "tool", "")
    program.chmod(mode)
    assert is_reachable(program, NOBODY) is reachable


def test_what_does_not_exist_is_not_reachable(host: Path) -> None:
    """Also a link to nowhere."""
    (host / "link").symlink_to(host / "nowhere")
    assert not is_reachable(host / "link", NOBODY)


def test_candidates_come_in_the_order_of_the_folders_each_once(host: Path) -> None:
    """As a shell would search, but going on after the first."""
    for folder in ("b", "a"):
        (host / folder).mkdir()
        script(host / folder / "tool", "")
    (host / "a" / "data").write_text("no program")
    folders = [str(host / name) for name in ("b", "a", "b", "none")]
    assert list(candidates("tool", folders)) == [host / "b" / "tool", host / "a" / "tool"]
    assert list(candidates("data", folders)) == []


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("echo 'gcc (Debian 12.2.0-14) 12.2.0'", "12.2.0"),
        ("echo go version go1.26.8 linux/amd64", "1.26.8"),
        ("echo 'Rscript (R) version 4.2.2' >&2", "4.2.2"),
        ("printf '\\377 9.1\\n'", "9.1"),
        ("echo no number", ""),
        ("echo 1.2; exit 1", ""),
        ("sleep 60", ""),
    ],
)
def test_version_is_the_first_number_that_a_tool_tells(host: Path, says: str, version: str) -> None:
    """From stdout or stderr; a tool that fails, hangs or tells none has no version."""
    assert tool_version(str(script(host / "tool", f"exec 2>&1; {says}")), ("--version",), 2.0) == version


def test_what_cannot_be_executed_has_no_version(host: Path) -> None:
    """Such as a program for another processor."""
    broken = host / "tool"
    broken.write_bytes(b"\x7fELF but no program")
    broken.chmod(0o755)
    assert tool_version(str(broken), ("--version",)) == ""


@pytest.fixture
def compiler(host: Path) -> Toolchain:
    """A C++ toolchain whose compiler writes what it was called with into its output."""
    path = script(host / "g++", 'while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done; echo x >"$out"')
    recipe = replace(recipe_for("cpp"), build=((str(path), "-O2", "{source}"),))
    return Toolchain(recipe, "1.0", {"g++": str(path)})


def test_a_warm_cache_is_made_once_and_used_from_then_on(compiler: Toolchain, host: Path) -> None:
    """Before, a note says what would make it quicker; after, sandboxes are shown the folder."""
    cold = use_caches(compiler, host / "caches")
    assert "make languages" in cold.note
    assert make_cache(cold, host / "caches")
    warm = use_caches(compiler, host / "caches")
    folder = str(cache_of(compiler, host / "caches"))
    assert (warm.note, warm.binds) == ("", (folder,))
    assert warm.recipe.build[0][1:3] == ("-I", folder)
    assert (Path(folder) / "bits" / "stdc++.h.gch").is_file()
    assert not make_cache(warm, host / "caches")


def test_a_cache_is_left_behind_when_the_compiler_changes(compiler: Toolchain, host: Path) -> None:
    """A precompiled header fits one build of its compiler only."""
    before = cache_of(compiler, host)
    script(Path(compiler.paths["g++"]), "echo another build")
    assert cache_of(compiler, host) != before


def test_other_users_may_read_a_cache_whatever_the_umask(compiler: Toolchain, host: Path) -> None:
    """Sandboxes run as somebody else."""
    old = os.umask(0o077)
    try:
        make_cache(use_caches(compiler, host / "caches"), host / "caches")
    finally:
        os.umask(old)
    assert is_reachable(cache_of(compiler, host / "caches") / "bits" / "stdc++.h.gch", NOBODY)
