"""What is imported is declared: a fresh environment made from the lock has everything."""

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.house.repository import ROOMS, our_modules, text_of, tracked_files

_OURS = {*ROOMS, "millrace", "config_manager", "tests"}


def _declared(table: str, key: str) -> set[str]:
    requirements = tomllib.loads(text_of(Path("pyproject.toml")))[table][key]
    names = {re.match(r"[A-Za-z0-9._-]+", requirement)[0] for requirement in requirements}
    # An extra is there because we use it: these are the ones we name.
    extras = {
        "faststream": {"nats-py"},
        "aioboto3": {"botocore", "aiohttp"},
        "uvicorn": {"uvloop", "httptools", "python-dotenv", "watchfiles"},
    }
    return {_normal(name) for name in names} | {extra for name in names for extra in extras.get(name, ())}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _undeclared(path: Path, declared: set[str], neighbours: set[str]) -> set[str]:
    found = _distributions()
    foreign = {name for name in _imported(path) if name not in sys.stdlib_module_names | _OURS | neighbours}
    return {name for name in foreign if not declared & {_normal(each) for each in found.get(name, ())}}


def test_what_the_product_imports_is_a_declared_dependency() -> None:
    """What is only there because something else needs it goes when that goes."""
    declared = _declared("project", "dependencies")
    in_sandboxes = Path("sandboxes/guest")  # runs with the sandbox's packages, not with ours
    modules = [path for path in our_modules() if in_sandboxes not in path.parents]
    wrong = {str(path): names for path in modules if (names := _undeclared(path, declared, set()))}
    assert wrong == {}


@pytest.mark.parametrize("folder", ["tests", "examples"])
def test_what_tests_and_examples_import_is_declared_too(folder: str) -> None:
    """A clean machine runs them as well."""
    declared = _declared("project", "dependencies") | _declared("dependency-groups", "dev")
    scripts = [path for path in tracked_files() if path.suffix == ".py" and path.parts[0] == folder]
    neighbours = {path.stem for path in scripts} | {"guest", "conftest"}
    wrong = {str(path): names for path in scripts if (names := _undeclared(path, declared, neighbours))}
    assert wrong == {}
