"""A diagnosis as a table for a terminal."""

from rich.table import Table
from rich.text import Text

from sandboxes.doctor import Diagnosis, Finding, State

_MARKS: dict[State, tuple[str, str]] = {
    "good": ("ok", "green"),
    "could_be_better": ("--", "yellow"),
    "missing": ("no", "red"),
}


def diagnosis_table(diagnosis: Diagnosis) -> Table:
    """Return the table: a word that says how it is, what it is, and what to do."""
    table = Table("", "what", "here", "what to do", box=None, padding=(0, 2, 0, 0))
    area = ""
    for finding in diagnosis.findings:
        if area and finding.area != area:
            table.add_section()
            table.add_row()
        area = finding.area
        table.add_row(*_cells(finding))
    return table


def _cells(finding: Finding) -> tuple[Text, Text, Text, Text]:
    word, style = _MARKS[finding.state]
    # Text and not markup: a path or message with brackets stays what it is.
    return Text(word, style), Text(finding.name), Text(finding.detail), Text(finding.remedy)
