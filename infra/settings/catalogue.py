"""Every setting as one record, read off the declarations. What parses, prints or documents starts here."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from infra.settings import millrace, nats, sandboxing, service, stores, users
from infra.settings.declare import Terms
from infra.settings.secret import Secret, SecretUrl

GROUPS: dict[str, type] = {
    "api": service.Api,
    "https": service.Https,
    "auth": service.Auth,
    "jwt": users.Jwt,
    "user_limits": users.UserLimits,
    "redis": stores.Redis,
    "nats": nats.Nats,
    "objects": stores.Objects,
    "kubernetes": sandboxing.Kubernetes,
    "gvisor": sandboxing.Gvisor,
    "limits": sandboxing.Limits,
    "files": stores.Files,
    "session": stores.Session,
    "pool": sandboxing.Pool,
    "state": stores.State,
    "security": sandboxing.Security,
    "logging": service.Logging,
    "health": service.Health,
    "development": service.Development,
    "languages": sandboxing.Languages,
    "millrace": millrace.Processes,
    "delivery": millrace.Delivery,
    "requests": millrace.Requests,
}

Kind = Literal[
    "text", "integer", "number", "boolean", "choice", "path", "list", "object", "array",
    "secret", "secret url", "secret list",
]  # fmt: skip

_KINDS: dict[Any, Kind] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    Path: "path",
    Path | None: "path",
    tuple[str, ...]: "list",
    dict[str, Any]: "object",
    list[Any]: "array",
    Secret: "secret",
    Secret | None: "secret",
    SecretUrl | None: "secret url",
    tuple[Secret, ...]: "secret list",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its public name, where it stands, and what it accepts."""

    name: str
    """As in the environment: API_PORT."""
    attribute: str
    """As in Python: api_port."""
    group: str
    kind: Kind
    default: Any
    choices: tuple[str, ...]
    terms: Terms

    @property
    def is_secret(self) -> bool:
        """Whether its value must not print."""
        return self.kind.startswith("secret")

    def allowed(self) -> str:
        """Return in words what it accepts."""
        if self.choices:
            return "one of: " + ", ".join(self.choices)
        if self.kind in {"integer", "number"}:
            whole = "whole " if self.kind == "integer" else ""
            low, high = self.terms.at_least, self.terms.at_most
            return f"a {whole}number from {_plain(low)} to {_plain(high)}"
        return self.terms.pattern_means or _WORDS[self.kind]


_WORDS: dict[Kind, str] = {
    "text": "a text",
    "boolean": "true or false (or 1, 0, yes, no, on, off)",
    "path": "a path",
    "list": "texts, comma separated",
    "object": "a JSON object",
    "array": "a JSON array",
    "secret": "a text",
    "secret url": "a URL",
    "secret list": "texts, comma separated",
}


def _plain(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:.15g}"


def group_title(group: str) -> str:
    """Return what a group is about, one line."""
    return group_about(group).split("\n", 1)[0].rstrip(".")


def group_about(group: str) -> str:
    """Return all that is said about a group, its title first."""
    return re.sub(r"\n +", "\n", (GROUPS[group].__doc__ or "").strip())


def _settings() -> Iterator[Setting]:
    for group, holder in GROUPS.items():
        hints = get_type_hints(holder)
        for declared in dataclasses.fields(holder):
            hint = hints[declared.name]
            choices = get_args(hint) if get_origin(hint) is Literal else ()
            yield Setting(
                name=declared.name.upper(),
                attribute=declared.name,
                group=group,
                kind="choice" if choices else _KINDS[hint],
                default=_default(declared),
                choices=choices,
                terms=declared.metadata[Terms],
            )


def _default(declared: "dataclasses.Field[Any]") -> Any:
    if declared.default_factory is not dataclasses.MISSING:
        return declared.default_factory()
    return declared.default


SETTINGS: dict[str, Setting] = {setting.name: setting for setting in _settings()}
"""By public name, in the order of the documentation."""
