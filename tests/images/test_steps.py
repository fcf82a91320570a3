"""The steps of our Dockerfiles work: `make test-images`. What is not tried is the base images themselves."""

import os
import shutil
import subprocess

import pytest

from tests.brokers import absent
from tests.images.dockerfile import ROOT, Build

pytestmark = pytest.mark.timeout(1800)
DOCKER = ROOT / "infra" / "docker"
TOOLS = {
    "node": ("npm", "node"),
    "go": ("go",),
    "java": ("javac",),
    "rs": ("rustc",),
    "gcc": ("gcc", "g++", "gfortran"),
}
"""What a base image brings, which this machine must stand in for."""


@pytest.mark.parametrize("mode", ["agent", "nsenter"])
def test_the_sidecars_image_holds_static_programs_and_the_guests_files(mode: str) -> None:
    with Build(DOCKER / "sidecar.Dockerfile", target=mode) as image:
        assert {path.name for path in image.place.iterdir()} == {"agent", "sidecar", "guest"}
        assert {"guest.zip", "waiter.js"} <= {path.name for path in (image.place / "guest").iterdir()}
        for program in ("agent", "sidecar"):
            told = subprocess.run(["ldd", image.place / program], capture_output=True, text=True, check=False)
            assert "not a dynamic executable" in told.stdout + told.stderr
        assert (image.user, image.entrypoint) == ("65532:65532", ["/sidecar"])
        has_powers = "security.capability" in os.listxattr(image.place / "sidecar")
        assert has_powers == (mode == "nsenter")
        assert os.listxattr(image.place / "agent") == []


def test_the_services_image_starts_as_an_ordinary_user() -> None:
    """With two languages, for speed: all are installed by one command, which has tests of its own."""
    with Build(DOCKER / "Dockerfile", LANGUAGES="py bash") as image:
        assert image.user == "millrace"
        assert image.entrypoint == ["python", "-P", "-m", "millrace"]
        assert "edge" in image.run("python -P -m millrace --help", as_user=True)
        owner = (image.place / "var/lib/millrace").stat().st_uid
        assert owner == 10001
        assert "kubernetes" in image.run(
            "MILLRACE_SANDBOX=kubernetes python -P -m millrace config summary", as_user=True
        )
        assert (image.place / "var/cache/millrace/pages").is_dir()


@pytest.mark.parametrize("name", sorted(path.stem for path in (DOCKER / "languages").glob("*.Dockerfile")))
def test_the_steps_of_a_languages_image_work(name: str) -> None:
    for tool in TOOLS.get(name, ()):
        if shutil.which(tool) is None:
            absent(f"this machine has no {tool} to stand in for the base image's")
    with Build(DOCKER / "languages" / f"{name}.Dockerfile"):
        pass
