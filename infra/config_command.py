"""`millrace config ...`, and the same as `python config_manager.py ...`.

Exit status: 0 good, 1 for a `security` finding of severity high, 2 for a configuration with faults.
"""

import sys

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.settings.catalogue import GROUPS, SETTINGS, Setting, group_title
from infra.settings.faults import BadSettings
from infra.settings.load import load_settings
from infra.settings.model import Settings
from infra.settings.render import export, template, value_text
from infra.settings.security import find_weaknesses
from infra.settings.unread import UNREAD

config_app = typer.Typer(
    help="Show and check the configuration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_STYLES = {"high": "bold red", "medium": "yellow", "low": "dim"}
_WIDTH_WITHOUT_TERMINAL = 140


@config_app.command("summary")
def show_summary() -> None:
    """Show every setting by group; * marks what differs from the default."""
    settings = _load_or_exit()
    console = _console()
    for group in GROUPS:
        console.print(_group_table(group, settings))
    console.print(f"{len(SETTINGS)} settings. * differs from the default; (unread): nothing uses it yet.")


@config_app.command("validate")
def validate() -> None:
    """Check every setting; list all faults at once."""
    settings = _load_or_exit()
    typer.echo(f"The configuration is valid: {len(settings.given)} of {len(SETTINGS)} settings are given.")
    idle = [
        setting.name
        for setting in SETTINGS.values()
        if _changed(setting, settings) and setting.name in UNREAD
    ]
    if idle:
        typer.echo(f"Given, but nothing uses them yet: {', '.join(idle)}.", err=True)


@config_app.command("security")
def show_security() -> None:
    """Show what the configuration leaves open."""
    findings = find_weaknesses(_load_or_exit())
    if not findings:
        typer.echo("No weaknesses found in the settings.")
        return
    table = Table("severity", "setting", "what is open", "remedy", title="Security of the settings")
    for finding in findings:
        severity = f"[{_STYLES[finding.severity]}]{finding.severity}[/]"
        table.add_row(severity, finding.name, finding.message, finding.remedy)
    _console().print(table)
    if any(finding.severity == "high" for finding in findings):
        raise typer.Exit(1)


@config_app.command("template")
def print_template() -> None:
    """Print a complete .env with every setting explained."""
    typer.echo(template())


@config_app.command("export")
def print_export() -> None:
    """Print all settings as JSON, secrets masked."""
    typer.echo(export(_load_or_exit()))


def _load_or_exit() -> Settings:
    try:
        return load_settings()
    except BadSettings as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH_WITHOUT_TERMINAL)


def _group_table(group: str, settings: Settings) -> Table:
    table = Table("", "setting", "value", "", box=box.SIMPLE_HEAD)
    table.title, table.title_justify = f"[bold]{group_title(group)}[/]", "left"
    table.columns[1].no_wrap = True
    table.columns[2].overflow = "fold"
    for setting in SETTINGS.values():
        if setting.group != group:
            continue
        mark = "*" if _changed(setting, settings) else ""
        value = value_text(getattr(settings, setting.attribute))
        table.add_row(mark, setting.name, escape(value), "(unread)" if setting.name in UNREAD else "")
    return table


def _changed(setting: Setting, settings: Settings) -> bool:
    return setting.name in settings.given and getattr(settings, setting.attribute) != setting.default
