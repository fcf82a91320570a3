"""What the README shows works when it is pasted."""

import re
import shutil
import subprocess
from collections.abc import Callable
from urllib.parse import unquote

import pytest

from tests.process.processes import ROOT, Serve

pytestmark = pytest.mark.usefixtures("bubblewrap")


def commands_with(word: str) -> list[str]:
    """Return the README's shell blocks that contain `word`."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if word in block]


def paste(block: str) -> str:
    """Run a block as a shell would; return what it prints."""
    return subprocess.run(["sh", "-ec", block], capture_output=True, text=True, check=True, timeout=60).stdout


def test_its_curl_lines_work(serve: Callable[..., Serve]) -> None:
    """On another port, for 8000 may be taken here."""
    service = serve().ready()
    ask, watch = (block.replace("http://127.0.0.1:8000", service.url) for block in commands_with("curl"))
    assert '"stdout":"42\\n"' in paste(ask)
    watched = paste(watch)
    assert [line for line in ("line 1", "line 2", "line 3") if line not in watched] == []
    assert "event: finished" in watched


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed")
def test_its_stream_lines_work(serve: Callable[..., Serve]) -> None:
    """Whatever speaks Redis can publish and read."""
    service = serve().ready()
    [block] = commands_with("redis-cli")
    # With a folder of so long a name the socket is elsewhere; the greeting says where.
    found = re.search(r"on unix://(\S+)", service.said())
    assert found
    there = block.replace("~/.local/share/millrace/broker/broker.sock", f"'{unquote(found[1])}'")
    assert there != block
    assert "queued" in paste(there)
