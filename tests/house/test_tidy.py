"""The repository keeps its own manners."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.house.repository import ROOMS, ROOT, make_targets, pages, text_of, tracked_files

# Put together from pieces, so that this file does not find itself.
_HOSTS = [
    name + end
    for name, end in [
        ("pypi", ".org"),
        ("files.pythonhosted", ".org"),
        ("registry.npmjs", ".org"),
        ("crates", ".io"),
        ("proxy.golang", ".org"),
        ("deb.debian", ".org"),
        ("repo1.maven", ".org"),
        ("repo.maven.apache", ".org"),
    ]
]
_OF_THE_WORKSHOP = [
    "/work" + "/shared",
    "." + "./shared/",
    "/work" + "/main",
    "/work" + "/wt",
    "." + "library",
    "farm" + "-bench",
    "farm" + "-studio",
    "issues" + " show",
]
_AT_THE_TOP = {
    *("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Makefile", "docker-compose.yml", "docs", "examples"),
    *("pyproject.toml", "requirements.txt", "requirements-dev.txt", "tests", *ROOMS),
    *(".ci", ".env.example", ".gitignore", ".pre-commit-config.yaml"),
    *("millrace.py", "config_manager.py"),  # the command line
}
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_SIZE_BYTES_MAX = 500_000


@pytest.mark.parametrize("word", _HOSTS)
def test_no_file_names_a_package_index(word: str) -> None:
    """Where packages come from is the operator's choice: pip, npm and apt are set up outside."""
    assert [str(path) for path in tracked_files() if word in text_of(path)] == []


@pytest.mark.parametrize("word", _OF_THE_WORKSHOP)
def test_no_file_names_the_workshop_it_was_made_in(word: str) -> None:
    """A stranger's checkout has none of it."""
    assert [str(path) for path in tracked_files() if word in text_of(path)] == []


def test_nothing_lies_at_the_top_but_what_a_newcomer_expects() -> None:
    """What somebody looked at once, a log or a note, is easily committed with the rest."""
    assert {path.parts[0] for path in tracked_files()} - _AT_THE_TOP == set()


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_of_a_page_lead_to_files_that_exist(page: Path) -> None:
    """Prose ages; dead links are where it shows first."""
    targets = [first or second for first, second in _LINK.findall(text_of(page))]
    local = [target.partition("#")[0] for target in targets if "://" not in target and ":" not in target]
    assert [target for target in local if target and not (ROOT / page.parent / target).exists()] == []


@pytest.mark.parametrize("page", pages(), ids=str)
def test_make_commands_of_a_page_are_targets(page: Path) -> None:
    """A command that is pasted must work."""
    commands = re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", text_of(page), re.MULTILINE)
    assert [command for command in commands if command not in make_targets()] == []


def test_every_make_target_says_what_it_does() -> None:
    """`make help` is the first thing a stranger types."""
    phony = re.findall(r"^\.PHONY: (.*)$", text_of(Path("Makefile")), re.MULTILINE)
    assert {name for line in phony for name in line.split()} == set(make_targets())


def test_no_committed_file_is_large() -> None:
    """Clones stay quick; what is big is made or fetched at set-up."""
    assert [str(path) for path in tracked_files() if (ROOT / path).stat().st_size > _SIZE_BYTES_MAX] == []


def test_text_files_end_with_one_newline_and_carry_no_trailing_blanks() -> None:
    """Diffs show what changed, and nothing else."""

    def untidy(path: Path) -> bool:
        text = text_of(path)
        return bool(text) and (
            not text.endswith("\n")
            or text.endswith("\n\n")
            or bool(re.search(r"[ \t]$|\r", text, re.MULTILINE))
        )

    tidy_kinds = {".py", ".md", ".toml", ".yml", ".yaml", ".sh", ".txt", ".json", ""}
    golden = Path("tests/schemas/golden")
    ours = [path for path in tracked_files() if path.suffix in tidy_kinds and golden not in path.parents]
    assert [str(path) for path in ours if untidy(path)] == []


@pytest.mark.parametrize("script", [".ci/run", "infra/setup/venv.sh"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    """They are run by name, and their rarely walked branches must at least be shell."""
    assert (ROOT / script).stat().st_mode & 0o111
    shell = text_of(Path(script)).partition("\n")[0].rpartition("/")[2].split()[-1]
    assert subprocess.run([shell, "-n", script], cwd=ROOT, check=False).returncode == 0
