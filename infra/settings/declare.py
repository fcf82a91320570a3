"""How a setting is declared: a typed attribute with its default, its bounds and a paragraph.

The groups are frozen dataclasses, not msgspec Structs: `Settings` inherits from all of them, so that
`settings.api_host` is one typed attribute, and Structs cannot be combined that way.
"""

from dataclasses import dataclass, field
from typing import TypeVar, cast, dataclass_transform

_T = TypeVar("_T")

group = dataclass_transform(frozen_default=True, kw_only_default=True)(dataclass(frozen=True, kw_only=True))
"""Marks a class as a group of settings; the first line of its docstring is the group's title."""


HOST = (r"[A-Za-z0-9._:%-]+", "a host name or address, without scheme or port")


@dataclass(frozen=True, slots=True)
class Terms:
    """What is said about one setting beside its type and default."""

    about: str
    at_least: float | None = None
    at_most: float | None = None
    pattern: str | None = None
    """Regular expression the whole text must match."""
    pattern_means: str = ""
    """The pattern in words, as in 'must be ...'."""
    blank_in_template: bool = False
    """Whether merely naming it changes what happens, so that a template must leave it empty."""
    required_with: str = ""
    """In words, when this may not stay empty."""


def setting(  # noqa: PLR0913 - one call is one declaration; all but two are named
    default: _T,
    about: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    pattern: tuple[str, str] | None = None,
    blank_in_template: bool = False,
    required_with: str = "",
) -> _T:
    """Declare a setting. `pattern` is a regular expression and its meaning in words."""
    expression, means = pattern or (None, "")
    terms = Terms(about, at_least, at_most, expression, means, blank_in_template, required_with)
    metadata = {Terms: terms}
    if isinstance(default, dict | list):
        return cast(_T, field(default_factory=default.copy, metadata=metadata))
    return field(default=default, metadata=metadata)
