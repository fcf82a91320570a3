"""The settings as texts: a complete `.env`, JSON, and the table of the documentation."""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.settings.catalogue import GROUPS, SETTINGS, Setting, group_about, group_title
from infra.settings.model import Settings
from infra.settings.secret import Secret
from infra.settings.unread import UNREAD

_WIDTH = 100
_UNQUOTED = re.compile(r"[A-Za-z0-9_./:@%+,~-]*")


def template() -> str:
    """Return a complete `.env`: every setting at its default, explained. It validates as it is."""
    head = (
        "Millrace's settings. Copy this to .env and change what you need.\n"
        "The environment stands before this file. An empty value means the default."
    )
    groups = (_template_group(group) for group in GROUPS)
    return "\n".join([_comment(head), *groups])


def _template_group(group: str) -> str:
    settings = [setting for setting in SETTINGS.values() if setting.group == group]
    lines = "\n".join(_template_setting(setting) for setting in settings)
    more = group_about(group).partition("\n")[2].strip()
    explained = f"{_comment(more)}\n" if more else ""
    return f"\n# ---- {group_title(group)} ----\n{explained}\n{lines}"


def _template_setting(setting: Setting) -> str:
    blank = setting.terms.blank_in_template
    default = default_text(setting)
    said = f"{setting.terms.about} Allowed: {setting.allowed()}."
    if setting.terms.required_with:
        said += f" Required when {setting.terms.required_with}."
    if blank:
        said += f" Default: {default}."
    value = "" if blank else _quoted(default)
    return f"{_comment(said)}\n{setting.name}={value}\n"


def _comment(text: str) -> str:
    return "\n".join(
        f"# {line}" for paragraph in text.splitlines() for line in textwrap.wrap(paragraph, _WIDTH)
    )


def _quoted(text: str) -> str:
    return text if _UNQUOTED.fullmatch(text) else f"'{text}'"


def default_text(setting: Setting) -> str:
    """Return the default as one would write it into a `.env`."""
    default = setting.default
    return default.reveal() if isinstance(default, Secret) else value_text(default)


def value_text(value: Any) -> str:
    """Return a value as one would write it into a `.env`, secrets masked."""
    match value:
        case None:
            text = ""
        case bool():
            text = str(value).lower()
        case float():
            text = f"{value:.15g}"
        case Secret():
            text = value.masked()
        case Path():
            text = str(value) if str(value).startswith(("/", "~")) else f"./{value}"
        case tuple():
            text = ",".join(value_text(part) for part in value)
        case dict() | list():
            text = json.dumps(value)
        case _:
            text = str(value)
    return text


def export(settings: Settings) -> str:
    """Return all settings as one JSON object by public name, secrets masked."""
    values = {setting.name: _jsonable(getattr(settings, setting.attribute)) for setting in SETTINGS.values()}
    return json.dumps(values, indent=2, ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    match value:
        case Secret():
            return value.masked()
        case Path():
            return str(value)
        case tuple():
            return [_jsonable(part) for part in value]
        case _:
            return value


def reference() -> str:
    """Return the generated part of docs/configuration.md: a table for each group."""
    return "\n".join(line for group in GROUPS for line in _reference_group(group))


def _reference_group(group: str) -> Iterator[str]:
    title, _, more = group_about(group).partition("\n")
    yield f"### {title.rstrip('.')}\n"
    if more.strip():
        yield f"{more.strip()}\n"
    yield "| name | default | allowed | what it does |"
    yield "|---|---|---|---|"
    for setting in SETTINGS.values():
        if setting.group == group:
            yield _reference_row(setting)
    yield ""


def _reference_row(setting: Setting) -> str:
    default = default_text(setting)
    about = setting.terms.about
    if setting.terms.required_with:
        about += f" Required when {setting.terms.required_with}."
    if setting.name in UNREAD:
        about += " *Not read yet.*"
    cells = [f"`{setting.name}`", f"`{default}`" if default else "", setting.allowed(), about]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
