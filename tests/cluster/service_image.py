"""The service's image for the cluster of the tests, packed from this checkout: no engine, no registry.

It holds what infra/docker/Dockerfile would put in (the locked packages, the rooms), on this machine's Python,
but for S3's SDK; and the embedded broker under the name that the chart starts Redis by, and a nats-server.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from infra.built_folder import built_folder
from infra.cache_folder import cache_folder
from infra.cluster.home import home
from infra.cluster.images import Image, write_archive
from infra.cluster.node import load_images
from infra.process.broker import find_server
from tests.cluster.images import REGISTRY, files_of

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY, TAG = f"{REGISTRY}/service", "1"
_ROOMS = ("schemas", "infra", "streams", "sandboxes", "edge", "handlers", "commands", "millrace.py")
_LEFT_OUT = {"aioboto3", "aiobotocore", "boto3", "botocore", "s3transfer"}
_FOLDER = "/opt/millrace"


def load_service() -> None:
    """Pack and import it."""
    archive = cache_folder(os.environ) / f"service.{os.getpid()}.tar"
    rooms = {f"{_FOLDER}/app/{name}": ROOT / name for name in _ROOMS}
    image = Image(
        f"{REPOSITORY}:{TAG}",
        files={
            **files_of("py"),
            **rooms,
            **_packages(),
            **_for_debians_python(),
            "/usr/local/bin/redis-server": Path(find_server()),
            "/usr/local/bin/nats-server": Path(sys.executable).with_name("nats-server"),
        },
        links={
            "/bin": "usr/bin",
            "/lib": "usr/lib",
            "/lib64": "usr/lib64",
            "/usr/local/bin/python": "/usr/bin/python3",
        },
        entrypoint=("python", "-P", "-m", "millrace"),
        env=(
            f"PYTHONPATH={_FOLDER}/app:{_FOLDER}/packages",
            "MILLRACE_DATA_DIR=/var/lib/millrace",
            "HOME=/tmp",
        ),
        user="10001:10001",
    )
    try:
        write_archive(archive, image)
        load_images(home(), [archive])
    finally:
        archive.unlink(missing_ok=True)


def _for_debians_python() -> dict[str, Path]:
    """Return what the lock has for Python before 3.11.3 only, which Debian 12 brings and this may not be."""
    folder = cache_folder(os.environ) / "service-for-debian"
    if not folder.is_dir():
        with built_folder(folder) as unfinished:
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--target",
                str(unfinished),
            ]
            subprocess.run([*command, "async-timeout==5.0.1"], check=True, timeout=120)
    return {f"{_FOLDER}/packages/{path.name}": path for path in folder.iterdir()}


def _packages() -> dict[str, Path]:
    """Return the files of the locked packages that are installed here."""
    found: dict[str, Path] = {}
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE):
        if name in _LEFT_OUT:
            continue
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:  # for another platform or version
            continue
        for file in files:
            path = Path(str(file.locate()))
            if ".." not in file.parts and path.is_file():
                found[f"{_FOLDER}/packages/{file}"] = path
    return found
