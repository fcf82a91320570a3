"""What browsers need to show the documentation: files of npm packages, fetched at set-up, never committed.

The edge serves them itself, so that reading the documentation of a closed network asks nobody outside it.
`infra.setup.pages` puts them into the cache folder; a machine without npm does without.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """One version of one package, and the files that are taken out of it."""

    name: str
    version: str
    integrity: str
    """As npm writes it: sha512, in base64."""
    files: Mapping[str, str]
    """Paths in the package by the names they are served under."""

    def folder(self, caches: Path) -> Path:
        """Return where its files lie below the cache folder."""
        return caches / "pages" / f"{self.name.strip('@').replace('/', '-')}-{self.version}"


SWAGGER_UI = NpmPackage(
    name="swagger-ui-dist",
    version="5.35.0",
    integrity="sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
    files={
        "swagger-ui.js": "swagger-ui-bundle.js",
        "swagger-ui.css": "swagger-ui.css",
        "swagger-ui.LICENSE.txt": "LICENSE",
        "swagger-ui.NOTICE.txt": "NOTICE",
    },
)
ASYNCAPI = NpmPackage(
    name="@asyncapi/react-component",
    version="3.2.1",
    integrity="sha512-k5ZqJd6+oxYaQ2o6F3rGWJ1MTIjXdpsUYB3NKQbVqr4yzrN0Ovj5c7eZx8NGd3wfKPhbOrLREtYl9K2OPfnSsA==",
    files={
        "asyncapi.js": "browser/standalone/index.js",
        "asyncapi.css": "styles/default.min.css",
        "asyncapi.LICENSE.txt": "LICENSE",
        "asyncapi.js.LICENSE.txt": "browser/standalone/index.js.LICENSE.txt",
    },
)
PAGE_PACKAGES = (SWAGGER_UI, ASYNCAPI)


def page_files(caches: Path) -> dict[str, Path]:
    """Return where each file would lie, by the name it is served under; none of them need be there."""
    return dict(_files(caches))


def _files(caches: Path) -> Iterator[tuple[str, Path]]:
    for package in PAGE_PACKAGES:
        for name in package.files:
            yield name, package.folder(caches) / name
