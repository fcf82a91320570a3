"""The documentation pages as a person sees them: in a browser, with the packages that are really fetched.

CI installs no browser, which is larger than everything else it installs; where there is one, it is used.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.setup.pages import fetch_pages
from tests.brokers import absent
from tests.process.processes import Serve

Browse = Callable[[str], str]


@pytest.fixture
def browse(serve: Callable[..., Serve], bubblewrap: None, tmp_path: Path) -> Browse:
    """Open a path of a service in a browser; return what the page has become, complaints of it first."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        absent("no browser is installed: apt-get install chromium")
    try:
        fetch_pages(cache_folder(os.environ))
    except Misconfigured as error:
        absent(str(error))
    service = serve(MILLRACE_CACHE=str(cache_folder(os.environ))).ready()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/browser"]
    flags += ["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"]

    def browse(path: str) -> str:
        ended = subprocess.run(
            [browser, *flags, service.url + path], capture_output=True, text=True, timeout=100, check=True
        )
        complaints = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
        assert complaints == []
        return ended.stdout

    return browse


def test_the_http_page_shows_every_route(browse: Browse) -> None:
    """Drawn by the browser, under the policy that the page comes with."""
    drawn = browse("/docs")
    for path in ("/exec", "/executions", "/state/{session}", "/languages"):
        assert f'data-path="{path}"' in drawn


def test_the_streams_page_shows_every_stream_and_its_words(browse: Browse) -> None:
    """And no complaint of the parser that reads the document there."""
    drawn = browse("/docs/streams")
    for shown in (
        "millrace:requests",
        "millrace:log:{execution_id}",
        "millrace:dead",
        "tool_calls_requested",
    ):
        assert shown in drawn
    assert "Error" not in drawn.partition("<body>")[2].partition("<script")[0].partition("Operations")[0]
