"""What this machine can run and what it lacks, each thing with the command that mends it."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.errors import Misconfigured
from sandboxes.guest_environment import guest_folder
from sandboxes.protocol import LanguageStatus, Sandboxes, SandboxesInfo, Tier
from sandboxes.reach import NOBODY
from sandboxes.toolchain import Toolchain
from sandboxes.toolchains import find_toolchains
from schemas.languages import LANGUAGES

State = Literal["good", "could_be_better", "missing"]

TIERS: Mapping[Tier, str] = {
    "A": "namespaces and cgroups: every limit holds for the whole group of processes",
    "B": "namespaces without cgroups: no limit on the memory and CPU of a whole group",
    "C": "namespaces, with a masked /proc and without cgroups: as B, and programs see an empty /proc",
    "D": "no namespaces: users, Landlock and system-call filter only; must be allowed explicitly",
    "E": "no safe isolation: sandboxes refuse to start",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    area: Literal["sandbox", "language", "extra"]
    name: str
    state: State
    detail: str
    """A version, or what is there or lacking."""
    remedy: str = ""
    """What to do about it, with the command to type; empty where nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All of it, in the order to show."""

    findings: tuple[Finding, ...]

    @property
    def can_run(self) -> bool:
        """Say whether this machine can run code safely, in at least one language."""
        walls = [each.state for each in self.findings if each.area == "sandbox"]
        languages = [each.state for each in self.findings if each.area == "language"]
        return "missing" not in walls and any(state != "missing" for state in languages)


async def examine(sandboxes: Sandboxes, caches: Path) -> Diagnosis:
    """Start `sandboxes`, look at what it says of itself, and close it again.

    `caches` is where set-up keeps compiler caches and the guest environment.
    """
    toolchains = find_toolchains(NOBODY if os.geteuid() == 0 else os.geteuid(), caches)
    try:
        await sandboxes.start()
        info = sandboxes.info()
        walls = tuple(_walls(info, {toolchain.note for toolchain in toolchains.values()}))
        languages = info.languages
    except Misconfigured as error:
        walls = (Finding("sandbox", "isolation", "missing", TIERS["E"], str(error)),)
        languages = [toolchain.status() for toolchain in toolchains.values()]
    finally:
        await sandboxes.close()
    spoken = (_language(status, toolchains[status.code]) for status in languages)
    return Diagnosis((*walls, *spoken, _guest(toolchains["py"], caches)))


def _walls(info: SandboxesInfo, said_elsewhere: Collection[str]) -> Iterator[Finding]:
    if info.tier is not None:
        state: State = "good" if info.tier == "A" else "could_be_better"
        yield Finding("sandbox", f"tier {info.tier}", state, TIERS[info.tier])
    for note in info.notes:
        if note in said_elsewhere:
            continue
        yield Finding("sandbox", "host", "could_be_better", "", note)


def _language(status: LanguageStatus, toolchain: Toolchain) -> Finding:
    name = next(language.name for language in LANGUAGES if language.code == status.code)
    if not status.available:
        return Finding("language", name, "missing", "not installed", status.missing)
    warm = f"{status.version}, {status.warm} waiting" if status.warm else status.version
    return Finding("language", name, "could_be_better" if toolchain.note else "good", warm, toolchain.note)


def _guest(python: Toolchain, caches: Path) -> Finding:
    if python.version and guest_folder(python, caches).is_dir():
        return Finding("extra", "Python packages", "good", "numpy, pandas, matplotlib and more")
    remedy = "optional: `make guest` gives programs numpy, pandas, matplotlib and more"
    return Finding("extra", "Python packages", "could_be_better", "the standard library only", remedy)
