"""Steps of Dockerfiles need root, for a file system of their own."""

import os

import pytest

from tests.brokers import absent


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        absent("running the steps of a Dockerfile without an engine takes root")
