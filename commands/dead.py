"""`millrace dead`: look at dead letters, give them another life where they may have one, drop them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from commands.own_broker import on_own_broker, own_broker
from infra.errors import RequestRefused
from infra.logs import configure_logs
from infra.settings import Settings, load_settings
from schemas.wire import find_id
from streams.bodies import build_transport
from streams.dead_letters import KeptLetter, Postmaster, find, requeue

dead_app = typer.Typer(no_args_is_help=True, help="Entries nobody could or may handle, with the reason.")

_PAGE = 256
T = TypeVar("T")
Letter = Annotated[str, typer.Argument(help="Its id, as `list` prints it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dead_app.command("list")
def list_letters(
    after: Annotated[str, typer.Option(help="Only those that came after the letter with this id.")] = "",
    count: Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the dead letters, oldest first."""
    letters = _with_transport(lambda transport: _list(transport, after, count))
    if as_json:
        _print_json([_summary(kept) for kept in letters])
    else:
        Console().print(_table(letters) if letters else "There are no dead letters.")


@dead_app.command()
def show(
    letter: Letter,
    *,
    data: Annotated[bool, typer.Option("--data", help="Print what was published, byte for byte.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one letter whole."""
    kept = _with_transport(lambda transport: find(transport, letter))
    if data:
        sys.stdout.buffer.write(kept.letter.data)
    elif as_json:
        _print_json(_summary(kept) | {"data": kept.letter.data.decode(errors="replace")})
    else:
        for name, value in _summary(kept).items():
            typer.echo(_harmless(f"{name}: {value}"))
        typer.echo("\n" + _harmless(kept.letter.data.decode(errors="replace")))


@dead_app.command("requeue")
def requeue_letter(
    letter: Letter,
    new_id: Annotated[
        str | None, typer.Option("--as", help="Run it as a new execution with this id.", metavar="ID")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Publish what a letter asks for again, and drop the letter.

    An execution that has ended stays ended: it can only run again under another id, with --as.
    """
    execution_id = _with_transport(lambda transport: requeue(transport, letter, new_id))
    if as_json:
        _print_json({"letter": letter, "execution_id": execution_id})
    else:
        typer.echo(f"{execution_id} is queued.")


@dead_app.command()
def drop(
    letters: Annotated[list[str] | None, typer.Argument(help="Ids, as `list` prints them.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that are there now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget letters for good."""
    if bool(letters) == everything:
        raise typer.BadParameter("name the letters to drop, or say --all")
    dropped, missing = _with_transport(lambda transport: _drop(transport, letters))
    if as_json:
        _print_json({"dropped": dropped, "missing": missing})
    else:
        typer.echo(f"{len(dropped)} dropped.")
    if missing:
        names = ", ".join(map(repr, missing))
        raise RequestRefused(f"There is no dead letter {names}.", field="letter")


async def _list(transport: Postmaster, after: str, count: int) -> list[KeptLetter]:
    """Return letters a page at a time, so that thousands of them load nobody for long."""
    found: list[KeptLetter] = []
    while len(found) < count:
        page = await transport.dead_letters(after, min(_PAGE, count - len(found)))
        if not page:
            break
        found += page
        after = page[-1].id
    return found


async def _drop(transport: Postmaster, letters: list[str] | None) -> tuple[list[str], list[str]]:
    if not letters:
        letters = [kept.id for kept in await _list(transport, "", sys.maxsize)]
    dropped = [letter for letter in letters if await transport.drop_dead_letter(letter)]
    return dropped, [letter for letter in letters if letter not in dropped]


def _with_transport(work: Callable[[Postmaster], Awaitable[T]]) -> T:
    settings = load_settings()
    configure_logs(level="ERROR", json=False)

    async def run() -> T:
        async with _transport(settings) as transport:
            return await work(transport)

    return asyncio.run(run())


@asynccontextmanager
async def _transport(settings: Settings) -> AsyncIterator[Postmaster]:
    if settings.millrace_transport == "redis" and (broker := own_broker(settings)):
        settings = on_own_broker(settings, broker)
    transport = build_transport(settings, "millrace-dead")
    try:
        yield transport
    finally:
        await transport.close()


def _summary(kept: KeptLetter) -> dict[str, Any]:
    letter = kept.letter
    return {
        "letter": kept.id,
        "time": letter.time.isoformat().replace("+00:00", "Z"),
        "execution_id": find_id(letter.data),
        "reason": letter.reason,
        "stream": letter.stream,
        "entry": letter.entry,
        "data_bytes": len(letter.data),
    }


def _table(letters: list[KeptLetter]) -> Table:
    table = Table(Column("letter", no_wrap=True), "time", "execution", "bytes", "reason")
    for kept in letters:
        line = _summary(kept)
        cells = (line["letter"], line["time"], line["execution_id"] or "", str(line["data_bytes"]))
        # What is in a letter is anybody's: none of it is markup.
        table.add_row(*(Text(_harmless(cell)) for cell in (*cells, line["reason"])))
    return table


def _harmless(text: str) -> str:
    """Return `text`, which is anybody's, without what a terminal would obey."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else f"\\x{ord(letter):02x}" for letter in text
    )


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
