"""One language on this host: its recipe with absolute paths, or a word on what is missing."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sandboxes.languages import Recipe
from sandboxes.protocol import LanguageStatus


@dataclass(frozen=True, slots=True)
class Prestart:
    """How a runtime is started before its program comes; placeholders as in `Recipe`."""

    command: tuple[str, ...]
    script: str = ""
    """A file of sandboxes/guest that it needs in the program folder, there with a dot before its name."""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A recipe that fits this host, and what sandboxes must be shown for it."""

    recipe: Recipe
    version: str = ""
    paths: dict[str, str] = field(default_factory=dict)
    """The absolute path of each tool, by the name that the recipe's table uses."""
    binds: tuple[str, ...] = ()
    """Host paths that the sandbox must show read-only at the same place, besides /usr."""
    missing: str = ""
    """A sentence with the command that mends it; empty where the language runs."""
    packages: tuple[str, ...] = ()
    """Debian packages that provide what is missing."""
    note: str = ""
    """What would make it quicker, with the command; empty if nothing."""
    prestart: Prestart | None = None
    """How it is started ahead; None where that does not pay, or something is missing for it."""

    @property
    def code(self) -> str:
        """The language's code."""
        return self.recipe.code

    def status(self, warm: int = 0) -> LanguageStatus:
        """Say it in the words of the sandbox protocol."""
        return LanguageStatus(self.code, not self.missing, self.version, self.missing, warm)

    def fingerprint(self, more: str = "") -> str:
        """Return a name for exactly these tools with this recipe, and `more`, for caches."""
        known = [repr(self.recipe.build), more] if more else [repr(self.recipe.build)]
        for path in self.paths.values():
            real = Path(path).resolve()
            known.append(f"{real} {real.stat().st_size} {real.stat().st_mtime_ns}")
        return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]


def with_flags(toolchain: Toolchain, flags: Sequence[str]) -> Toolchain:
    """Return `toolchain` with `flags` put first in the arguments of its only build command."""
    ((compiler, *arguments),) = toolchain.recipe.build
    return replace(toolchain, recipe=replace(toolchain.recipe, build=((compiler, *flags, *arguments),)))


def with_env(toolchain: Toolchain, **env: str) -> Toolchain:
    """Return `toolchain` with more environment."""
    return replace(toolchain, recipe=replace(toolchain.recipe, env={**toolchain.recipe.env, **env}))


def with_binds(toolchain: Toolchain, *paths: str) -> Toolchain:
    """Return `toolchain` with more host paths shown."""
    return replace(toolchain, binds=tuple(dict.fromkeys([*toolchain.binds, *paths])))
