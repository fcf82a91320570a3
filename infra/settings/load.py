"""Read the settings: all of them, or all that is wrong with them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.settings.catalogue import SETTINGS, Setting
from infra.settings.checks import check_together
from infra.settings.environment import Texts, read_texts
from infra.settings.faults import BadSettings, Fault
from infra.settings.model import Settings
from infra.settings.parse import NotAllowed, parse
from infra.settings.secret import MASK
from infra.settings.typos import FROM_KUBERNETES, find_typos

_SHOWN_LENGTH_MAX = 80


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (by default the process's) and the `.env` file it names.

    Raises `BadSettings` with every fault.
    """
    settings, faults = examine(environ)
    if settings is None or faults:
        raise BadSettings(faults)
    return settings


def examine(environ: Mapping[str, str] | None = None) -> tuple[Settings | None, list[Fault]]:
    """Return the settings as far as they can be read, and everything that is wrong with them.

    A value that cannot be parsed stands at its default, so that what settings say together is checked in
    the same round.
    """
    texts = read_texts(os.environ if environ is None else environ)
    values, faults = _parse_all(texts)
    given = frozenset(name for name in SETTINGS if texts.find(name))
    settings = Settings(**values, given=given)
    bad = {fault.name for fault in faults}
    together = [fault for fault in check_together(settings) if fault.name not in bad]
    return settings, [*texts.faults, *faults, *together, *find_typos(texts)]


def _parse_all(texts: Texts) -> tuple[dict[str, Any], list[Fault]]:
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for setting in SETTINGS.values():
        text = texts.find(setting.name) or _computed_default(setting, texts)
        try:
            if text:
                values[setting.attribute] = parse(setting, text)
        except NotAllowed as refusal:
            faults.append(Fault(setting.name, shown(setting, text), f"must be {refusal}{_because(text)}"))
    return values, faults


def _computed_default(setting: Setting, texts: Texts) -> str:
    """Return the text of a default that depends on this machine or user: paths below a home."""
    xdg = texts.environ.get("XDG_DATA_HOME", "")
    if setting.name == "MILLRACE_DATA_DIR" and Path(xdg).is_absolute():
        return str(Path(xdg) / "millrace")
    return str(setting.default) if setting.kind == "path" and setting.default else ""


def _because(text: str) -> str:
    if text.startswith(FROM_KUBERNETES):
        return " (Kubernetes sets this for a Service of that name: use enableServiceLinks: false)"
    return ""


def shown(setting: Setting, text: str) -> str:
    """Return a given text as it may be shown."""
    if setting.is_secret:
        return MASK
    return text if len(text) <= _SHOWN_LENGTH_MAX else text[:_SHOWN_LENGTH_MAX] + "..."
