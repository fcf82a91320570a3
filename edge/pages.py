"""`GET /docs`: the generated documents as pages for people.

The code that shows them is fetched at set-up and served from here. The pages may load from this edge and
from nowhere else, which their content security policy has the browser enforce.
"""

import base64
import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

ASSETS = "/docs/assets/"
_CACHED_S = 3600

_HTML = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Millrace: $title</title>
<link rel="icon" href="data:,">
$head
</head>
<body>
$body
</body>
</html>
""")
_SHOWN = Template("""<div id="page" data-document="$document"></div>
<script src="$script"></script>
<script>$start</script>""")
_NOT_INSTALLED = Template("""<h1>Millrace: $title</h1>
<p>This page is not installed here: <code>make setup</code> fetches what it needs where npm is
(in a closed network from the registry that npm is set up for), and the page works at once.</p>
<p>The document itself is at <a href="$document">$document</a>.</p>""")


@dataclass(frozen=True, slots=True)
class Page:
    """A page that shows one document."""

    path: str
    title: str
    document: str
    script: str
    style: str
    start: str
    """JavaScript that shows `document` in the element `page`."""
    compiles: bool = False
    """Whether its script makes code of its own, as the AsyncAPI parser does for the schemas it checks."""


HTTP_PAGE = Page(
    path="/docs",
    title="HTTP",
    document="/openapi.json",
    script="swagger-ui.js",
    style="swagger-ui.css",
    start='SwaggerUIBundle({dom_id: "#page", url: document.getElementById("page").dataset.document, '
    "deepLinking: true, validatorUrl: null});",
)


STREAMS_PAGE = Page(
    path="/docs/streams",
    title="streams",
    document="/asyncapi.json",
    script="asyncapi.js",
    style="asyncapi.css",
    start='AsyncApiStandalone.render({schema: {url: document.getElementById("page").dataset.document}, '
    'config: {show: {sidebar: true, errors: true}}}, document.getElementById("page"));',
    compiles=True,
)


class Pages:
    """Serves the pages from `files`: where each asset lies if it is installed, by its name."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    async def http(self, request: Request) -> Response:
        """GET /docs."""
        return self._show(HTTP_PAGE, request)

    async def streams(self, request: Request) -> Response:
        """GET /docs/streams."""
        return self._show(STREAMS_PAGE, request)

    async def asset(self, request: Request) -> Response:
        """GET /docs/assets/{name}: one file of those that are known by name."""
        name = request.path_params["name"]
        if not self._is_installed(name):
            raise HTTPException(404)
        return FileResponse(
            self._files[name], headers={"cache-control": f"public, max-age={_CACHED_S}", **_ALONE}
        )

    def _is_installed(self, name: str) -> bool:
        return name in self._files and self._files[name].is_file()

    def _show(self, page: Page, request: Request) -> Response:
        document = _relative(page.document, page, request)
        if not all(self._is_installed(name) for name in (page.script, page.style)):
            body = _NOT_INSTALLED.substitute(title=page.title, document=document)
            head = ""
        else:
            style = _relative(ASSETS + page.style, page, request)
            head = f'<link rel="stylesheet" href="{style}">'
            script = _relative(ASSETS + page.script, page, request)
            body = _SHOWN.substitute(document=document, script=script, start=page.start)
        html = _HTML.substitute(title=page.title, head=head, body=body)
        policy = {"content-security-policy": _policy(page), "referrer-policy": "no-referrer"}
        return HTMLResponse(html, headers={"cache-control": "no-store", **policy, **_ALONE})


_ALONE = {"x-content-type-options": "nosniff"}


def _relative(target: str, page: Page, request: Request) -> str:
    """Return `target` as a link from where the browser is: a proxy may have put anything before our paths."""
    slash = "/x" if request.scope.get("raw_path", b"").endswith(b"/") else ""
    return posixpath.relpath(target, posixpath.dirname(page.path + slash))


def _policy(page: Page) -> str:
    """Return what the page may do: our files, the one script in it, styles and pictures it makes itself."""
    digest = base64.b64encode(hashlib.sha256(page.start.encode()).digest()).decode()
    scripts = f"'self' 'sha256-{digest}'" + (" 'unsafe-eval'" if page.compiles else "")
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
