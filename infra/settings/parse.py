"""Turn the text of one setting into its value, or say what it accepts."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from infra.settings.catalogue import Kind, Setting
from infra.settings.secret import Secret, SecretUrl

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class NotAllowed(ValueError):
    """The text is not what the setting accepts; the message completes 'must be ...'."""


def parse(setting: Setting, text: str) -> Any:
    """Return the value of `setting` for a text that is not empty. Raises `NotAllowed`."""
    text = text.strip()
    if setting.kind not in {"object", "array"} and _CONTROL.search(text):
        raise NotAllowed("a text of one line without control characters")
    return _PARSERS[setting.kind](setting, text)


def _text(setting: Setting, text: str) -> str:
    if setting.terms.pattern is not None and not re.fullmatch(setting.terms.pattern, text):
        raise NotAllowed(setting.allowed())
    return text


def _choice(setting: Setting, text: str) -> str:
    for choice in setting.choices:
        if text.lower() == choice.lower():
            return choice
    raise NotAllowed(setting.allowed())


def _boolean(setting: Setting, text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise NotAllowed(setting.allowed())


def _integer(setting: Setting, text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise NotAllowed(setting.allowed())
    number = int(text)
    _check_range(setting, number)
    return number


def _number(setting: Setting, text: str) -> float:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}(\.[0-9]{0,18})?", text):
        raise NotAllowed(setting.allowed())
    number = float(text)
    _check_range(setting, number)
    return number


def _check_range(setting: Setting, number: float) -> None:
    low, high = setting.terms.at_least, setting.terms.at_most
    too_low = low is not None and number < low
    too_high = high is not None and number > high
    if too_low or too_high:
        raise NotAllowed(setting.allowed())


def _path(_: Setting, text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise NotAllowed("a path that needs no home folder: this user has none") from None


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _json(setting: Setting, text: str) -> Any:
    shape = dict[str, Any] if setting.kind == "object" else list[Any]
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, RecursionError):
        raise NotAllowed(setting.allowed()) from None


_PARSERS: dict[Kind, Callable[[Setting, str], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "choice": _choice,
    "path": _path,
    "list": lambda _, text: _parts(text),
    "object": _json,
    "array": _json,
    "secret": lambda _, text: Secret(text),
    "secret url": lambda _, text: SecretUrl(text),
    "secret list": lambda _, text: tuple(Secret(part) for part in _parts(text)),
}
