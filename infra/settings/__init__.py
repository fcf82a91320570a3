"""The settings: declared with types, defaults and bounds, read once from the environment and `.env`.

    from infra.settings import settings, validate_configuration

`settings` is read on first use, so that importing it never fails; then it raises `BadSettings`, a
`Misconfigured` that lists every fault. Only the front doors read settings; everything else is handed values.
`docs/configuration.md` is generated from the declarations.
"""

import logging
from typing import Any, cast

from infra.settings.faults import BadSettings, Fault
from infra.settings.load import examine, load_settings
from infra.settings.model import Settings
from infra.settings.secret import Secret, SecretUrl

__all__ = [
    "BadSettings",
    "Fault",
    "Secret",
    "SecretUrl",
    "Settings",
    "find_faults",
    "load_settings",
    "settings",
    "validate_configuration",
]


def find_faults() -> list[Fault]:
    """Read the configuration afresh and return everything that is wrong with it."""
    return examine()[1]


def validate_configuration() -> bool:
    """Read the configuration afresh; log each fault as an error and return whether there was none."""
    faults = find_faults()
    for fault in faults:
        logging.getLogger("millrace.settings").error("%s", fault)
    return not faults


class _Lazy:
    """Stands for the settings until one is asked for."""

    def __init__(self) -> None:
        self._read: Settings | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._read is None:
            self._read = load_settings()
        return getattr(self._read, name)

    def __repr__(self) -> str:
        return "<settings, not read yet>" if self._read is None else repr(self._read)


settings = cast(Settings, _Lazy())
