"""The guest environment: what it promises, and what is said where it is not there."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from sandboxes.guest_environment import REQUIREMENTS, guest_folder, make_guest, use_guest
from sandboxes.missing_module import EXPECTED
from sandboxes.reach import NOBODY, is_reachable
from sandboxes.toolchain import Toolchain
from sandboxes.toolchains import find_tools

_IMPORTED_AS = {
    "beautifulsoup4": "bs4",
    "pillow": "PIL",
    "python-dateutil": "dateutil",
    "python-docx": "docx",
    "python-pptx": "pptx",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}


@pytest.fixture(scope="module")
def python() -> Toolchain:
    """The Python that sandboxes use, without the environment."""
    return find_tools(os.geteuid())["py"]


@pytest.fixture(scope="module")
def guest(python: Toolchain) -> Path:
    """The environment of this machine; it is optional, so its absence is no fault."""
    folder = guest_folder(python, cache_folder(os.environ))
    if not folder.is_dir():
        pytest.skip("no guest environment here; `make guest` installs it")
    return folder


def test_the_names_known_to_the_guest_are_those_of_the_requirements() -> None:
    """The list inside the sandbox and the list that is installed do not drift apart."""
    wanted = REQUIREMENTS.with_suffix(".in").read_text().splitlines()
    names = [line for line in wanted if line and not line.startswith("#")]
    assert {_IMPORTED_AS.get(name, name) for name in names} == EXPECTED


def test_the_installers_own_packages_are_not_taken_for_the_guests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, python: Toolchain
) -> None:
    """With PYTHONPATH set, pip found most of it installed already, and left it out."""
    seen: list[set[str]] = []

    def refuse(
        command: tuple[str, ...], env: dict[str, str], **_: object
    ) -> subprocess.CompletedProcess[str]:
        seen.append(set(env))
        return subprocess.CompletedProcess(command, 1, "", "no index")

    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1/simple")
    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(Misconfigured, match="no index"):
        make_guest(python, tmp_path)
    assert [names & {"PYTHONPATH", "PIP_TARGET", "PIP_INDEX_URL"} for names in seen] == [{"PIP_INDEX_URL"}]
    assert list(tmp_path.iterdir()) == []


def test_every_package_that_is_wanted_is_pinned_with_hashes() -> None:
    """What is installed tomorrow is what was tested today, wherever it comes from."""
    pinned = REQUIREMENTS.read_text()
    for line in REQUIREMENTS.with_suffix(".in").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.search(rf"^{re.escape(line)}==\S+.*\\\n    --hash=sha256:", pinned, re.MULTILINE), line


@pytest.mark.languages
def test_all_of_it_can_be_imported_by_python_alone(guest: Path) -> None:
    """With -I, as programs are run: no path but the environment's own."""
    code = f"import {', '.join(sorted(EXPECTED))}"
    env = {"MPLCONFIGDIR": str(guest / "matplotlib"), "HOME": "/nowhere"}
    subprocess.run([guest / "bin" / "python3", "-I", "-c", code], check=True, env=env)


def test_it_can_be_read_by_the_user_that_sandboxes_run_as(guest: Path) -> None:
    """Down to the compiled parts of a package."""
    if os.geteuid() != 0:
        pytest.skip("sandboxes run as the user who made it")
    assert all(is_reachable(path, NOBODY) for path in guest.rglob("*.so"))


def test_it_has_a_list_of_fonts(guest: Path) -> None:
    """Without one every first plot of a sandbox searches the machine for seconds."""
    assert list((guest / "matplotlib").glob("fontlist-*.json"))


def test_python_and_bash_use_it_where_it_is(python: Toolchain) -> None:
    """`python3` in a shell script means the same as a Python program."""
    folder = Path("/caches/guest")
    with_guest = use_guest(python, folder)
    assert with_guest.recipe.run[0] == with_guest.paths["python3"] == "/caches/guest/bin/python3"
    assert with_guest.recipe.run[1:] == python.recipe.run[1:]
    assert str(folder) in with_guest.binds
    bash = use_guest(find_tools(os.geteuid())["bash"], folder)
    assert bash.recipe.env["PATH"].startswith("/caches/guest/bin:")


def test_other_pins_or_another_python_make_another_environment(python: Toolchain, tmp_path: Path) -> None:
    """So an upgrade never changes packages under a running service."""
    assert guest_folder(python, tmp_path) != guest_folder(replace(python, version="3.99.0"), tmp_path)
