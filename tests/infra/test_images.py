"""The images' files as they are written; `make test-images` carries out their steps."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from schemas.languages import LANGUAGE_CODES

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "infra" / "docker"
FILES = sorted([DOCKER / "sidecar.Dockerfile", *(DOCKER / "languages").glob("*.Dockerfile")])
BUILD = DOCKER / "build-images.sh"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_base_image_is_an_argument(path: Path) -> None:
    """So that an operator can pin it by digest."""
    text = path.read_text("utf-8")
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    arguments = {f"${{{name}}}" for name in re.findall(r"^ARG (\w+)=\S+$", text, re.MULTILINE)}
    assert bases - stages - {"scratch"} == arguments


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_copied_exists_and_is_let_through(path: Path) -> None:
    sources = re.findall(r"^COPY (?!--from)(\S+) \S+$", path.read_text("utf-8"), re.MULTILINE)
    ignore = path.with_name(path.name + ".dockerignore")
    allowed = ignore.read_text("utf-8").splitlines() if ignore.exists() else []
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source.split('/')[0]}" in allowed


def test_every_language_has_an_image_and_bash_that_of_python() -> None:
    (named,) = re.findall(r"^languages=\((.+)\)$", BUILD.read_text("utf-8"), re.MULTILINE)
    assert set(named.split()) == set(LANGUAGE_CODES) - {"bash"}


def dry_run(*names: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script with an engine that only says what it is told."""
    return subprocess.run(
        [BUILD, *names],
        env={"PATH": "/usr/bin:/bin", "ENGINE": "echo", **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_all_images_are_named_as_the_settings_name_them() -> None:
    said = dry_run(K8S_IMAGE_REGISTRY="here/x", K8S_IMAGE_TAG="v1").stdout
    names = re.findall(r"^== (\S+)$", said, re.MULTILINE)
    ours = {*(set(LANGUAGE_CODES) - {"bash"}), "sidecar-agent", "sidecar-nsenter"}
    assert set(names) == {f"here/x/millrace-{name}:v1" for name in ours} | {"here/x/millrace:v1"}
    for path in re.findall(r"--file (\S+)", said):
        assert (ROOT / path).is_file()


def test_a_base_image_can_be_pinned_and_pushed() -> None:
    said = dry_run("go", BASE_GO="golang@sha256:0", PUSH="true").stdout
    assert "--build-arg BASE=golang@sha256:0" in said
    assert said.splitlines()[-1] == "push millrace/millrace-go:latest"


def test_a_name_that_is_none_builds_nothing() -> None:
    done = dry_run("py", "cobol")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no image cobol" in done.stderr


def test_typescript_is_the_same_in_pods_and_in_local_sandboxes() -> None:
    """Its pins are in one place; the image's line repeats one."""
    pinned = json.loads((ROOT / "infra/typescript/package.json").read_text("utf-8"))["dependencies"]
    text = (DOCKER / "languages/node.Dockerfile").read_text("utf-8")
    assert f" typescript@{pinned['typescript']} " in text
