"""Files on their way into a pod and out again."""

import json
import os

import pytest

from tests.sidecar.pair import Pair, outcome, python


def put(pair: Pair, name: str, content: bytes, root: str = "data") -> int:
    return pair.ask("PUT", f"/v1/file?root={root}&name={name}", content)[0]


def changes(pair: Pair) -> tuple[dict[str, dict[str, object]], dict[str, dict[str, object]]]:
    told = json.loads(pair.get("/v1/changes")[1])
    return tuple({each["name"]: each for each in told[when]} for when in ("before", "after"))


def test_files_go_in_and_what_changed_comes_out(pair: Pair) -> None:
    content = os.urandom(3_000_000)
    assert put(pair, "in/kept.bin", content) == put(pair, "same", b"old") == put(pair, "gone", b"x") == 204
    code = (
        "import os; print(len(open('in/kept.bin', 'rb').read()))\n"
        "open('same', 'w').write('new'); os.remove('gone')"
    )
    assert outcome(pair.run(**python(code))).stdout == b"3000000\n"
    before, after = changes(pair)
    assert before.keys() == {"in/kept.bin", "same", "gone"}
    assert after.keys() == {"in/kept.bin", "same"}
    assert before["in/kept.bin"] == after["in/kept.bin"]
    assert before["same"]["modified_ns"] != after["same"]["modified_ns"]
    assert pair.get("/v1/file?name=in/kept.bin") == (200, content)
    assert pair.get("/v1/file?name=same&bytes_max=2")[0] == 413


def test_a_file_put_in_twice_is_what_it_was_last(pair: Pair) -> None:
    assert put(pair, "a", b"a long first version") == put(pair, "a", b"short") == 204
    assert outcome(pair.run(**python("print(open('a').read())"))).stdout == b"short\n"


@pytest.mark.parametrize(
    "name", ["../up", "/etc/x", "a/../../b", "", "n%00l", "a//b", ".", "a/.", "x/" * 40 + "y"]
)
def test_a_name_that_leads_elsewhere_is_refused(pair: Pair, name: str) -> None:
    assert put(pair, name, b"x") == 400


def test_saved_state_is_a_file_beside_the_program(pair: Pair) -> None:
    assert put(pair, ".state/before", b"was", root="program") == 204
    code = (
        "import os; open('/program/.state/saved', 'w').write(open('/program/.state/before').read() + ' is')"
    )
    outcome(pair.run(**python(code)))
    assert pair.get("/v1/file?root=program&name=.state/saved") == (200, b"was is")


def test_nothing_goes_in_after_or_comes_out_before(pair: Pair) -> None:
    assert pair.get("/v1/file?name=a")[0] == pair.get("/v1/changes")[0] == 409
    outcome(pair.run(**python("pass")))
    assert put(pair, "a", b"x") == 409


def test_no_link_is_followed_and_only_regular_files_come_out(pair: Pair) -> None:
    code = (
        "import os\n"
        "os.symlink('/etc/passwd', 'link'); os.symlink('/etc', 'folder'); os.symlink('..', 'up')\n"
        "os.mkfifo('fifo'); os.mkdir('closed'); open('closed/x', 'w'); os.chmod('closed', 0)\n"
        "open('secret', 'w'); os.chmod('secret', 0); open(b'\\xff', 'w')\n"
    )
    outcome(pair.run(**python(code)))
    _, after = changes(pair)
    assert {name: each["why_not"] for name, each in after.items()} == {
        "link": "no regular file",
        "folder": "no regular file",
        "up": "no regular file",
        "fifo": "no regular file",
        "closed": "cannot be opened: permission denied",
        "secret": "its permissions forbid reading",
        "\ufffd": "its name is no UTF-8",
    }
    for name in ("link", "folder/passwd", "up/program/main.py", "fifo", "closed/x", "closed"):
        assert pair.get(f"/v1/file?name={name}")[0] == 404


def test_a_link_that_waits_for_the_next_file_catches_nothing(pair: Pair) -> None:
    """Not of this run's making: whoever has furnished the folder, files go in below it."""
    (pair.folder / "data" / "trap").symlink_to("/tmp")
    assert put(pair, "trap/x", b"x") == 422
    assert not (pair.folder / "tmp" / "x").exists()


def test_more_entries_and_levels_than_anybody_wants_to_see_are_cut(pair: Pair) -> None:
    code = (
        "import os\n"
        "for n in range(11_000): open(f'f{n}', 'w').close()\n"
        "for n in range(500): os.mkdir('d'); os.chdir('d')\n"
    )
    outcome(pair.run(**python(code)))
    _, after = changes(pair)
    assert len(after) < 10_300
    assert after["..."]["why_not"] == "more than 10000 entries"


def test_a_deep_pit_is_not_climbed_into(pair: Pair) -> None:
    outcome(pair.run(**python("import os\nfor n in range(500): os.mkdir('d'); os.chdir('d')")))
    _, after = changes(pair)
    assert [each["why_not"] for each in after.values()] == ["deeper than 32 levels"]
