"""The documentation pages: everything from the edge itself, and honest where something is missing."""

import re
from pathlib import Path
from typing import Any

import pytest

from infra.pages import page_files

PAGES = {"/docs": ("swagger-ui.js", "/openapi.json"), "/docs/streams": ("asyncapi.js", "/asyncapi.json")}
SCRIPT = "/docs/assets/swagger-ui.js"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, Path]:
    """Assets as set-up leaves them, in miniature."""
    files = page_files(tmp_path)
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return files


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_page_needs_no_key_and_loads_from_this_edge_alone(
    make_house: Any, installed: dict[str, Path], page: str, prefix: str, slash: str
) -> None:
    """Whatever it refers to is there, from wherever the browser is."""
    house = await make_house(page_files=installed)
    del house.client.headers["x-api-key"]
    answer = await house.client.get(prefix + page + slash)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    links = re.findall(r'(?:href|src|data-document)="((?!data:)[^"]+)"', answer.text)
    assert [link for link in links if "//" in link] == []
    told = {link: await house.client.get(str(answer.url.join(link))) for link in links}
    assert {one.status_code for one in told.values()} == {200}
    script, document = PAGES[page]
    paths = {answer.url.join(link).path.removeprefix(prefix) for link in links}
    assert paths == {f"/docs/assets/{script}", f"/docs/assets/{Path(script).stem}.css", document}


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_may_load_nothing_from_anywhere_else(
    make_house: Any, installed: dict[str, Path], page: str
) -> None:
    """The browser enforces it, and runs the one script in the page because its digest is named."""
    import base64
    import hashlib

    answer = await (await make_house(page_files=installed)).client.get(page)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    [script] = re.findall(r"<script>(.+?)</script>", answer.text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


async def test_assets_are_cached_and_typed(make_house: Any, installed: dict[str, Path]) -> None:
    """A megabyte is loaded once."""
    answer = await (await make_house(page_files=installed)).client.get(SCRIPT)
    assert answer.text == "content of swagger-ui.js"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "max-age" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["nothing.js", "..%2F..%2Fetc%2Fpasswd", "../../app.py", "%00", "a/b"])
async def test_no_other_file_can_be_asked_for(make_house: Any, installed: dict[str, Path], name: str) -> None:
    """Names are looked up, never joined to a folder."""
    house = await make_house(page_files=installed)
    assert (await house.client.get(f"/docs/assets/{name}")).status_code == 404


async def test_a_page_that_is_not_installed_says_so_and_where_the_document_is(
    make_house: Any, tmp_path: Path
) -> None:
    """And works as soon as it is, without a restart."""
    house = await make_house(page_files=page_files(tmp_path))
    answer = await house.client.get("/docs")
    assert answer.status_code == 200
    assert "make setup" in answer.text
    assert 'href="openapi.json"' in answer.text
    assert "<script" not in answer.text
    assert (await house.client.get(SCRIPT)).status_code == 404
    for path in page_files(tmp_path).values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert "<script" in (await house.client.get("/docs")).text


async def test_without_docs_there_is_no_page(make_house: Any, installed: dict[str, Path]) -> None:
    """As the operator chose."""
    house = await make_house(docs=False, page_files=installed)
    for path in (*PAGES, SCRIPT, "/openapi.json", "/asyncapi.json"):
        assert (await house.client.get(path)).status_code == 404
