"""Fetching the assets of the documentation pages, with an npm that the test makes up."""

import base64
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from infra import pages
from infra.errors import Misconfigured
from infra.pages import NpmPackage, page_files
from infra.setup import pages as setup
from infra.setup.pages import fetch_pages

FILES = {"shown.js": "browser/index.js", "shown.LICENSE.txt": "LICENSE"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NpmPackage:
    """A package in the registry of a made-up npm, which counts how often it is asked."""
    archive = tmp_path / "archive.tgz"
    with tarfile.open(archive, "w:gz") as content:
        for path in (*FILES.values(), "../escaped", "README.md"):
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(path)
            content.addfile(entry, io.BytesIO(path.encode()))
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\ncp {archive} shown-1.0.0.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    package = NpmPackage("@scope/shown", "1.0.0", f"sha512-{digest}", FILES)
    for module in (pages, setup):
        monkeypatch.setattr(module, "PAGE_PACKAGES", (package,))
    return package


def test_what_is_listed_is_taken_out_once(package: NpmPackage, tmp_path: Path) -> None:
    """And nothing else."""
    for _ in range(2):
        fetch_pages(tmp_path / "caches")
    assert (tmp_path / "asked").read_text().count("@scope/shown@1.0.0") == 1
    files = page_files(tmp_path / "caches")
    assert {name: path.read_text() for name, path in files.items()} == FILES
    assert {path.name for path in package.folder(tmp_path / "caches").iterdir()} == FILES.keys()


def test_a_package_that_is_another_than_was_pinned_is_refused(
    package: NpmPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the registry says of it."""
    monkeypatch.setattr(setup, "PAGE_PACKAGES", (replace(package, integrity="sha512-AAAA"),))
    with pytest.raises(Misconfigured, match="pinned"):
        fetch_pages(tmp_path / "caches")
    assert not package.folder(tmp_path / "caches").exists()


@pytest.mark.parametrize("trouble", ["no npm", "npm fails"])
def test_set_up_goes_on_without_it_and_says_so(
    package: NpmPackage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trouble: str,
) -> None:
    """A machine without npm, or without a network, runs everything else."""
    if trouble == "no npm":
        monkeypatch.setenv("PATH", "/nowhere")
    else:
        (tmp_path / "bin" / "npm").write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "caches"))
    assert setup.main() == 0
    assert "documentation pages" in capsys.readouterr().err
