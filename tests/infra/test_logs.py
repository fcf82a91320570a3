"""Logs: one form for our lines and those of libraries, rotated, and never a secret in them."""

import asyncio
import json
import logging
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from infra.log_file import SharedRotatingFile
from infra.logs import configure_logs, log_context


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Put the process's logging back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(capture: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the logged objects."""
    return [json.loads(line) for line in capture.readouterr().err.splitlines()]


def test_our_lines_and_those_of_libraries_look_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object a line, with time, level, logger and event."""
    configure_logs()
    structlog.get_logger("ours").info("began", count=3)
    logging.getLogger("uvicorn.error").warning("theirs %s", "too")
    ours, theirs = lines(capsys)
    assert (ours["event"], ours["count"], ours["level"], ours["logger"]) == ("began", 3, "info", "ours")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("theirs too", "warning", "uvicorn.error")
    assert ours["time"].endswith("Z")
    assert ours.keys() - {"count"} == theirs.keys()


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """No JSON, and no colours where there is no terminal."""
    configure_logs(json=False)
    structlog.get_logger("ours").info("began", count=3)
    written = capsys.readouterr().err
    assert "began" in written
    assert "count=3" in written
    assert "\x1b" not in written


def test_the_level_holds_for_everybody(capsys: pytest.CaptureFixture[str]) -> None:
    """Below it nothing is written."""
    configure_logs(level="WARNING")
    structlog.get_logger("ours").info("quiet")
    logging.getLogger("theirs").info("quiet")
    structlog.get_logger("ours").warning("loud")
    assert [line["event"] for line in lines(capsys)] == ["loud"]


def test_configuring_again_does_not_double_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where a library brought a handler of its own."""
    library = logging.getLogger("faststream")
    library.addHandler(logging.StreamHandler(sys.stderr))
    library.propagate = False
    configure_logs()
    configure_logs()
    library.warning("once")
    assert [line["event"] for line in lines(capsys)] == ["once"]


async def test_what_is_bound_stands_in_every_line_of_its_task(capsys: pytest.CaptureFixture[str]) -> None:
    """And in no other's, however they interleave."""
    configure_logs()
    log = structlog.get_logger("ours")
    both = asyncio.Barrier(2)

    async def work(name: str) -> None:
        with log_context(execution_id=name):
            await both.wait()
            log.info("ours")
            logging.getLogger("theirs").info("theirs")
            await both.wait()

    await asyncio.gather(work("a"), work("b"))
    log.info("outside")
    *inside, outside = lines(capsys)
    assert sorted((line["execution_id"], line["event"]) for line in inside) == [
        ("a", "ours"), ("a", "theirs"), ("b", "ours"), ("b", "theirs"),
    ]  # fmt: skip
    assert "execution_id" not in outside


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_are_struck_from_every_line(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    """Whoever wrote it: a library, an error's text, a value with quotes that JSON spells otherwise."""
    secrets = ("hush-hush", 'quote"hush-\\back', "hush-hush-longer")
    configure_logs(json=as_json, secrets=secrets)
    log = structlog.get_logger("ours")
    logging.getLogger("redis").error("cannot reach redis://u:hush-hush@host and hush-hush-longer")
    log.warning("value", what=secrets[1])
    try:
        raise ValueError(f"said {secrets[0]}")
    except ValueError:
        log.exception("failed")
    written = capsys.readouterr().err
    assert "hush" not in written
    assert written.count("****") >= 4
    assert "redis://u:****@host" in written
    assert "ValueError" in written


def test_code_and_contents_are_masked_by_name_and_bytes_by_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Also when somebody passes them by mistake."""
    configure_logs()
    structlog.get_logger("ours").info("ran", code="print(1)", stdin="x", args=["y"], chunk=b"12345", n=1)
    (line,) = lines(capsys)
    assert (line["code"], line["stdin"], line["args"]) == ("****", "****", "****")
    assert (line["chunk"], line["n"]) == ("<5 bytes>", 1)


def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """They may be somebody's code."""
    configure_logs(json=False)
    code = "hush" + "hush"
    try:
        int(len(code) and "not a number")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    written = capsys.readouterr().err
    assert "Traceback" in written
    assert "hushhush" not in written


def test_lines_go_to_the_file_as_well_and_old_ones_are_kept_up_to_a_number(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Rotated by size."""
    path = tmp_path / "millrace.log"
    configure_logs(file=path, file_bytes_max=2000, file_backups=2)
    for number in range(100):
        structlog.get_logger("ours").info("line", number=number)
    assert len(lines(capsys)) == 100
    kept = sorted(file.name for file in tmp_path.glob("millrace.log*") if file.suffix != ".lock")
    assert kept == ["millrace.log", "millrace.log.1", "millrace.log.2"]
    assert all((tmp_path / name).stat().st_size <= 2000 for name in kept)
    assert json.loads(path.read_text().splitlines()[-1])["number"] == 99


def _write_lines(path: Path, writer: int, count: int, all_ready: Any) -> None:
    handler = SharedRotatingFile(path, bytes_max=3000, backups=100)
    log = logging.Logger("writer")
    log.addHandler(handler)
    all_ready.wait()
    for number in range(count):
        log.info("%d:%d:%s", writer, number, "x" * 50)
    handler.close()


def test_processes_share_one_file_without_losing_a_line(tmp_path: Path) -> None:
    """However often it is rotated meanwhile; and each file is full before the next one begins."""
    path = tmp_path / "shared.log"
    context = multiprocessing.get_context("spawn")
    all_ready = context.Barrier(3)
    arguments = [(path, writer, 300, all_ready) for writer in range(3)]
    writers = [context.Process(target=_write_lines, args=each) for each in arguments]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    files = [file for file in tmp_path.glob("shared.log*") if file.suffix != ".lock"]
    written = sorted(line.rsplit(":", 1)[0] for file in files for line in file.read_text().splitlines())
    assert written == sorted(f"{writer}:{number}" for writer in range(3) for number in range(300))
    assert all(2900 < file.stat().st_size <= 3000 for file in files if file != path)


def test_a_file_that_cannot_be_written_costs_no_caller_anything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line still goes to stderr."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    configure_logs(file=tmp_path / "gone" / "millrace.log")
    structlog.get_logger("ours").info("still here")
    assert "still here" in capsys.readouterr().err
