"""What is written down about the settings is what the code does."""

import re
from pathlib import Path

from infra.settings.__main__ import documents
from infra.settings.catalogue import SETTINGS
from infra.settings.environment import BESIDE
from infra.settings.unread import UNREAD

from .reads import settings_read, sources

ROOT = Path(__file__).resolve().parents[2]
UNREAD_MAX = 2
"""Lower it whenever settings leave the table; it is never raised."""


def test_the_generated_documents_are_up_to_date() -> None:
    """`python -m infra.settings` writes them again."""
    stale = [path.name for path, text in documents().items() if path.read_text("utf-8") != text]
    assert stale == []


def test_the_reference_has_every_setting() -> None:
    """The markers are there and the table between them is whole."""
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert [name for name in SETTINGS if f"| `{name}` |" not in page] == []


def test_the_unread_table_names_settings_and_only_shrinks() -> None:
    """A new setting is made real in the change that brings it."""
    assert sorted(UNREAD - SETTINGS.keys()) == []
    assert len(UNREAD) == UNREAD_MAX


def test_every_setting_is_read_or_in_the_unread_table() -> None:
    """And not both: a setting that was made real leaves the table."""
    read = settings_read()
    assert sorted(SETTINGS.keys() - UNREAD - read) == []
    assert sorted(UNREAD & read) == []


def test_every_variable_of_ours_in_the_code_is_known() -> None:
    """Else the check for misspelt names would refuse it."""
    texts = [path.read_text("utf-8") for path in sources()]
    used = {name for text in texts for name in re.findall(r"\bMILLRACE_[A-Z_]+[A-Z]\b", text)}
    assert sorted(used - SETTINGS.keys() - BESIDE.keys()) == []
