"""`millrace run`: a program's output as it comes, and its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers import absent
from tests.process.processes import ROOT

pytestmark = pytest.mark.usefixtures("bubblewrap")


def run(
    folder: Path, code: str, *options: str, stdin: str = "", name: str = "main.py"
) -> "subprocess.CompletedProcess[str]":
    """Run some code with `millrace run`."""
    (folder / name).write_text(code)
    command = [sys.executable, "-m", "millrace", "run", name, *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_output_and_exit_status_are_the_programs(tmp_path: Path) -> None:
    """As if it had been run right here."""
    ended = run(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("out\n", "err\n", 3)


def test_our_standard_input_is_the_programs(tmp_path: Path) -> None:
    """It can stand in a pipe."""
    assert run(tmp_path, "print(input() + '!')", stdin="hello\n").stdout == "hello!\n"


def test_given_text_stands_for_our_standard_input(tmp_path: Path) -> None:
    """Then ours is not touched."""
    assert run(tmp_path, "print(input())", "--stdin", "given", stdin="ours\n").stdout == "given\n"


def test_a_file_beside_the_program_is_there(tmp_path: Path) -> None:
    """Text and bytes alike."""
    (tmp_path / "data.bin").write_bytes(b"\xff\x00")
    ended = run(tmp_path, "print(open('data.bin', 'rb').read())", "--file", "data.bin")
    assert ended.stdout == "b'\\xff\\x00'\n"


def test_a_timeout_is_status_124_and_keeps_what_was_written(tmp_path: Path) -> None:
    """The message goes to stderr and names the limit."""
    ended = run(tmp_path, "print('so far', flush=True)\nwhile True: pass", "--timeout", "0.5")
    assert (ended.stdout, ended.returncode) == ("so far\n", 124)
    assert "timed_out" in ended.stderr


def test_out_of_memory_is_status_137(tmp_path: Path) -> None:
    """Also where the kernel, and not the limit of a group, said so."""
    ended = run(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert ended.returncode == 137


def test_a_missing_module_is_explained(tmp_path: Path) -> None:
    """As on a server."""
    ended = run(tmp_path, "import no_such_module")
    assert ended.stderr.endswith("programs cannot install packages.\n")
    assert ended.returncode == 1


def test_types_are_checked_if_asked_for(tmp_path: Path) -> None:
    """Then a wrong one is an error of the build, and nothing runs."""
    wrong = 'const n: number = "seven";\nconsole.log(n);\n'
    assert run(tmp_path, wrong, name="main.ts").stdout == "seven\n"
    ended = run(tmp_path, wrong, "--check-types", name="main.ts")
    if "make languages" in ended.stderr:
        absent("what checks types is not installed (make languages)")
    assert (ended.stdout, ended.returncode) == ("", 1)
    assert "error TS2322" in ended.stderr


def test_json_tells_everything_and_nothing_else_is_printed(tmp_path: Path) -> None:
    """For programs that read it."""
    told = json.loads(run(tmp_path, "print('x')", "--json").stdout)
    assert (told["outcome"], told["exit_code"], told["stdout"]) == ("exited", 0, "x\n")


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("main.xyz", [], "the suffix of 'main.xyz' tells no language"),
        ("main.py", ["--language", "cobol"], "unknown language 'cobol'"),
        ("main.py", ["--session", "s"], "a session lives on a server"),
        ("main.py", ["--file", "missing.csv"], "missing.csv cannot be read"),
        ("main.py", ["--check-types"], "check_types is an option of these languages only: ts"),
        ("main.py", ["--url", "ftp://x"], "no http or https URL"),
    ],
)
def test_what_cannot_be_run_is_a_sentence_and_status_125(
    tmp_path: Path, name: str, options: list[str], reason: str
) -> None:
    """No stack trace."""
    ended = run(tmp_path, "print(1)", *options, name=name)
    assert ended.returncode == 125
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_version_needs_none_of_the_rooms() -> None:
    """What answers at once must not import what takes long."""
    code = "import sys, millrace; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"faststream", "redis", "uvicorn", "starlette", "msgspec", "rich"} & set(modules) == set()
