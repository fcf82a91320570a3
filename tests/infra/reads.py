"""Which settings the code reads: by its syntax, not by running it."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from infra.settings.catalogue import SETTINGS
from infra.settings.model import Settings

ROOT = Path(__file__).resolve().parents[2]
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = [name.rstrip("*") for name in _PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
"""What is shipped: the rooms and the command line."""


def settings_read() -> set[str]:
    """Return the public names of all settings that code outside infra/settings reads.

    A property or method of `Settings` that is used outside passes on what it reads itself.
    """
    used = {name for path in sources() for name in _attributes_of_settings(path)}
    reads = _reads_by_member()
    while more := {name for member in used & reads.keys() for name in reads[member]} - used:
        used |= more
    return {setting.name for setting in SETTINGS.values() if setting.attribute in used}


def sources() -> Iterator[Path]:
    """Yield every file that is shipped, except the settings themselves and the command that shows them."""
    yield from ROOT.glob("*.py")
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if ROOT / "infra" / "settings" not in path.parents and path.name != "config_command.py":
                yield path


def _attributes_of_settings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and _is_settings(node.value):
            yield node.attr


def _is_settings(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.strip("_") == "settings"


def _reads_by_member() -> dict[str, set[str]]:
    path = ROOT / "infra" / "settings" / "model.py"
    (holder,) = (
        node
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    )
    return {
        member.name: {
            node.attr
            for node in ast.walk(member)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }
        for member in holder.body
        if isinstance(member, ast.FunctionDef) and member.name != "secrets"  # masking is not reading
    }
