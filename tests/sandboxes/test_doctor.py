"""What `doctor` says, for machines that the test makes up."""

from pathlib import Path

import pytest
from rich.console import Console

from infra.errors import Misconfigured
from sandboxes.doctor import Diagnosis, Finding, examine
from sandboxes.doctor_view import diagnosis_table
from sandboxes.protocol import LanguageStatus, Sandbox, SandboxesInfo, SandboxSpec, Tier
from schemas.languages import LANGUAGES


class Machine:
    """Sandboxes that say of themselves what the test wants."""

    def __init__(self, tier: Tier = "A", lacks: str = "", missing: tuple[str, ...] = ()) -> None:
        self.tier = tier
        self.lacks = lacks
        self.missing = missing
        self.closed = False

    async def start(self) -> None:
        if self.tier == "E":
            raise Misconfigured(self.lacks)

    async def acquire(self, spec: SandboxSpec) -> Sandbox:
        raise AssertionError(spec)

    def is_ready(self, spec: SandboxSpec) -> bool:
        raise AssertionError(spec)

    def info(self) -> SandboxesInfo:
        languages = [
            LanguageStatus(each.code, each.code not in self.missing, "1.2", f"install {each.code}", warm=2)
            for each in LANGUAGES
        ]
        return SandboxesInfo("local", self.tier, languages, [self.lacks] if self.lacks else [])

    async def close(self) -> None:
        self.closed = True


def named(diagnosis: Diagnosis, name: str) -> Finding:
    """Return the finding of that name."""
    return next(finding for finding in diagnosis.findings if finding.name == name)


async def test_a_good_machine_can_run_and_every_language_is_listed(tmp_path: Path) -> None:
    """In the order of the table, with version and how many wait."""
    machine = Machine()
    diagnosis = await examine(machine, tmp_path)
    names = [finding.name for finding in diagnosis.findings if finding.area == "language"]
    assert names == [language.name for language in LANGUAGES]
    assert named(diagnosis, "tier A").state == "good"
    assert named(diagnosis, "Bash").detail == "1.2, 2 waiting"
    assert diagnosis.can_run
    assert machine.closed


async def test_a_missing_language_is_told_with_its_remedy(tmp_path: Path) -> None:
    """The rest still runs."""
    diagnosis = await examine(Machine(missing=("d",)), tmp_path)
    assert (named(diagnosis, "D").state, named(diagnosis, "D").remedy) == ("missing", "install d")
    assert diagnosis.can_run


async def test_a_machine_without_safe_isolation_cannot_run(tmp_path: Path) -> None:
    """The reason is the remedy's sentence; languages are still looked for."""
    machine = Machine("E", lacks="Install bubblewrap: apt-get install bubblewrap")
    diagnosis = await examine(machine, tmp_path)
    assert named(diagnosis, "isolation").remedy == "Install bubblewrap: apt-get install bubblewrap"
    assert len([finding for finding in diagnosis.findings if finding.area == "language"]) == len(LANGUAGES)
    assert not diagnosis.can_run
    assert machine.closed


async def test_a_machine_without_any_language_cannot_run(tmp_path: Path) -> None:
    """However good its walls are."""
    everything = tuple(language.code for language in LANGUAGES)
    assert not (await examine(Machine(missing=everything), tmp_path)).can_run


@pytest.mark.parametrize("tier", ["B", "C", "D"])
async def test_a_weaker_tier_says_what_is_lost(tmp_path: Path, tier: Tier) -> None:
    """And what the host would need."""
    diagnosis = await examine(Machine(tier, lacks="cgroups: run as root"), tmp_path)
    assert named(diagnosis, f"tier {tier}").state == "could_be_better"
    assert named(diagnosis, "host").remedy == "cgroups: run as root"


def test_the_table_shows_messages_as_they_are() -> None:
    """Brackets in a message are no markup."""
    finding = Finding("language", "D", "missing", "not [bold]installed", "type [this]")
    console = Console(width=100)
    with console.capture() as shown:
        console.print(diagnosis_table(Diagnosis((finding,))))
    assert "not [bold]installed" in shown.get()
    assert "type [this]" in shown.get()
