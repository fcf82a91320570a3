"""What docs/librechat.md says to set and to type is there and works."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.jwt_users import TokenRules, load_users
from infra.settings.catalogue import SETTINGS
from tests.process.processes import ROOT, Serve

PAGE = (ROOT / "docs/librechat.md").read_text()
OF_LIBRECHAT = {"LIBRECHAT_CODE_BASEURL", "LIBRECHAT_CODE_API_KEY", "CODEAPI_JWT_PRIVATE_KEY"}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_setting_it_names_exists() -> None:
    """Ours, or one of LibreChat's own."""
    named = {line.partition("=")[0] for block in blocks("ini") for line in block.splitlines()}
    assert len(named) > 5
    assert named - OF_LIBRECHAT - SETTINGS.keys() == set()


def test_the_keys_it_makes_are_keys_we_take(tmp_path: Path) -> None:
    """Pasted as they stand."""
    [block] = [block for block in blocks("sh") if "openssl" in block]
    subprocess.run(["sh", "-ec", block], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert load_users(tmp_path / "codeapi-public.pem", None, TokenRules())


@pytest.mark.usefixtures("bubblewrap")
def test_its_example_takes_a_table_through_a_run(serve: Callable[..., Serve]) -> None:
    """Upload, run, download, listing, deletion."""
    environment = {**os.environ, "MILLRACE_URL": serve().ready().url, "MILLRACE_KEY": "test-api-key"}
    command = [sys.executable, "examples/files.py"]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines() == [
        "stdout: done",
        "report.txt: 2 cities, 263000 inhabitants",
        "uploaded as: Städte 2026.csv",
        "left: []",
    ]
