"""The command line. It reads the settings, puts the rooms together and hands over.

Everything heavy is imported by the command that needs it, so that `--version` and mistakes answer at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.errors import MillraceError, Misconfigured
from infra.version import VERSION

if TYPE_CHECKING:
    from infra.settings import Settings
    from schemas.commands import RunCode

EXIT_FAILED = 1
EXIT_MISCONFIGURED = 2

app = typer.Typer(
    help="Publish code, get exactly one outcome and every byte of output, whatever dies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command named on the command line; failures are sentences on stderr."""
    try:
        app(prog_name="millrace")
    except MillraceError as error:
        typer.echo(f"millrace: {error}", err=True)
        sys.exit(EXIT_MISCONFIGURED if isinstance(error, Misconfigured) else EXIT_FAILED)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"millrace {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    port: Annotated[
        int | None,
        typer.Option(help="Instead of API_PORT, or HTTPS_PORT if that is served.", min=1, max=65535),
    ] = None,
) -> None:
    """Run all of it on this machine: broker, handlers, edge. Ctrl-C stops everything."""
    from commands.serve import serve  # noqa: PLC0415

    raise typer.Exit(serve(port))


@app.command()
def edge() -> None:
    """Run one edge process, configured by the environment and .env."""
    from edge.process import main as run_edge  # noqa: PLC0415

    settings = _settings_with_logs()
    if settings.api_reload:
        from commands.reload import run_reloading  # noqa: PLC0415

        raise typer.Exit(run_reloading(lambda line: typer.echo(f"millrace: {line}", err=True)))
    run_edge(settings)


@app.command()
def handlers() -> None:
    """Run one handler process, configured by the environment and .env."""
    from handlers.app import main as run_handlers  # noqa: PLC0415

    run_handlers(_settings_with_logs())


@app.command()
def pool() -> None:
    """Run one pool process, which keeps pods ready for all handlers (MILLRACE_SANDBOX=kubernetes)."""
    from commands.pool import main as run_pool  # noqa: PLC0415

    run_pool(_settings_with_logs())


@app.command()
def run(  # noqa: PLR0913 - one parameter an option
    file: Annotated[Path, typer.Argument(help="The program; - reads it from standard input.")],
    *,
    language: Annotated[str | None, typer.Option(help="Told by the file's suffix if left out.")] = None,
    stdin: Annotated[
        str | None, typer.Option(help="Text for its standard input; ours is passed on if left out.")
    ] = None,
    files: Annotated[
        list[Path] | None, typer.Option("--file", help="A file to put beside it; may be repeated.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="Session to run in; needs --url.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds it may take.", min=0.001)] = None,
    check_types: Annotated[
        bool, typer.Option("--check-types", help="TypeScript: report type errors instead of running.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON at the end.")] = False,
    url: Annotated[str | None, typer.Option(help="A Millrace server to run it on.")] = None,
    key: Annotated[str | None, typer.Option(envvar="MILLRACE_KEY", help="API key for --url.")] = None,
) -> None:
    """Run a file and stream its output.

    Without --url it runs in a sandbox of this machine and needs no server. The exit status is the
    program's, 124 for a timeout, 137 for out of memory, 125 if it could not be run.
    """
    from commands.run_report import EXIT_NOT_RUN  # noqa: PLC0415
    from commands.run_request import build_command  # noqa: PLC0415

    try:
        command = build_command(
            file,
            language=language,
            stdin=stdin,
            files=files or [],
            session=session,
            timeout_s=timeout,
            check_types=check_types,
        )
        status = _run_there(command, url, key, as_json) if url else _run_here(command, as_json)
    except MillraceError as error:
        typer.echo(f"millrace: {error}", err=True)
        status = EXIT_NOT_RUN
    raise typer.Exit(status)


def _run_here(command: "RunCode", as_json: bool) -> int:
    from commands.run import run_here  # noqa: PLC0415

    return run_here(command, as_json=as_json)


def _run_there(command: "RunCode", url: str, key: str | None, as_json: bool) -> int:
    from commands.run_there import run_there  # noqa: PLC0415

    return run_there(command, url, key, as_json=as_json)


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)
def config(context: typer.Context) -> None:
    """Show and check the configuration: summary, validate, security, template, export."""
    from infra.config_command import config_app  # noqa: PLC0415

    config_app(args=context.args, prog_name="millrace config")


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)
def dead(context: typer.Context) -> None:
    """Look at dead letters, give them another life, drop them: list, show, requeue, drop."""
    from commands.dead import dead_app  # noqa: PLC0415

    dead_app(args=context.args, prog_name="millrace dead")


@app.command()
def doctor() -> None:
    """Say what this machine can isolate and run, what is missing, and how to install it."""
    from commands.doctor import diagnose  # noqa: PLC0415

    raise typer.Exit(diagnose())


def _settings_with_logs() -> "Settings":
    """Read the settings and log as they say."""
    from infra.logs import configure_logs  # noqa: PLC0415
    from infra.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    configure_logs(**settings.log_options())
    return settings


if __name__ == "__main__":
    main()
