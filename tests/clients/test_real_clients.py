"""Real clients of all four generations must not notice that this is not the service they were written for."""

from typing import Any

import pytest

from tests.clients.conftest import Talk
from tests.clients.conversation import Conversation

ALL = ["A", "B", "C", "D"]
WITH_BASH = ["B", "C", "D"]


def by_hand(talking: Conversation, uploaded: dict[str, Any], name: str, kind: str = "user") -> dict[str, Any]:
    """A reference to an uploaded file as the host makes it, in both shapes; each version reads its own."""
    file = uploaded["files"][0]["fileId"]
    session = uploaded["storage_session_id"]
    both = {"session_id": session, "storage_session_id": session}
    return {"id": file, "name": name, "resource_id": "r", "kind": kind, **both}


@pytest.mark.parametrize("generation", ALL)
def test_code_is_run_and_its_output_read(talk: Talk, generation: str) -> None:
    """Both streams, arguments, and a failure that the model can see."""
    talking = talk(generation)
    assert "stdout:\n['a b']" in talking.run("import sys; print(sys.argv[1:])", args=["a b"])["text"]
    failed = talking.run("print('before'); raise ValueError('told')")
    assert failed["status"] == "success", "a program that fails is no failure of the tool"
    assert "stdout:\nbefore" in failed["text"]
    assert "ValueError: told" in failed["text"]


@pytest.mark.parametrize("generation", ALL)
def test_files_are_kept_across_calls(talk: Talk, generation: str) -> None:
    """Made in one call, read in the next, changed in the third, and still there in the fourth."""
    talking = talk(generation)
    talking.run("open('a.txt', 'w').write('one'); open('b.txt', 'w').write('two')")
    assert "onetwo" in talking.run("print(open('a.txt').read() + open('/mnt/data/b.txt').read())")["text"]
    changed = talking.run("open('a.txt', 'w').write('ONE')")["artifact"]
    [output] = [file for file in changed["files"] if not file.get("inherited")]
    assert output["name"] == "a.txt"
    assert output["modified_from"]["id"] != output["id"]
    last = talking.run("import os; print(sorted(os.listdir('.')), open('a.txt').read())")
    assert "['a.txt', 'b.txt'] ONE" in last["text"]
    assert sorted(file["name"] for file in talking.do("session")["files"]) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("generation", ALL)
def test_what_a_run_made_is_downloaded_by_the_ids_it_was_told_with(talk: Talk, generation: str) -> None:
    """At once, byte for byte, in a link that the front end accepts."""
    talking = talk(generation)
    made = talking.run("open('Bericht 1.bin', 'wb').write(bytes(range(256)))")["artifact"]
    [file] = made["files"]
    session = made["session_id"] if generation == "A" else file["storage_session_id"]
    assert len(session) == len(file["id"]) == 21
    got = talking.do("download", url=f"/download/{session}/{file['id']}?kind=user&id=u")
    assert got["content"].encode("latin-1") == bytes(range(256))
    assert "Bericht%201.bin" in got["headers"]["content-disposition"]


@pytest.mark.parametrize("generation", ALL)
def test_an_uploaded_file_is_there_under_its_name(talk: Talk, generation: str) -> None:
    """Umlauts, brackets and blanks; and it is no output of the run that read it."""
    talking = talk(generation)
    name = "Übersicht (final) 'x'.csv"
    about = {"entity_id": "agent_1"} if generation == "A" else {"kind": "user", "id": "u1"}
    uploaded = talking.upload((name, "a,b\n1,2\n"), **about)
    assert uploaded["message"] == "success"
    assert uploaded["files"][0]["filename"] == name
    reference = by_hand(talking, uploaded, name)
    talking.do("remember", session_id=uploaded["session_id"], file=reference)
    read = talking.run("import os; [n] = os.listdir('.'); print(n); print(open(n).read())")
    assert f"{name}\na,b\n1,2" in read["text"]
    outputs = [file for file in read["artifact"].get("files", []) if not file.get("inherited")]
    assert outputs == []


@pytest.mark.parametrize("generation", ALL)
def test_an_uploaded_file_is_recognised_and_not_uploaded_again(talk: Talk, generation: str) -> None:
    """By the listing in the older clients, by the object in the newer ones."""
    talking = talk(generation)
    uploaded = talking.upload(("x.csv", "1"), kind="user", id="u1")
    session, file = uploaded["session_id"], uploaded["files"][0]["fileId"]
    listed = talking.get(f"/files/{session}?detail=summary")
    assert [entry["name"].startswith(f"{session}/{file}") for entry in listed] == [True]
    assert talking.get(f"/sessions/{session}/objects/{file}?kind=user&id=u1")["lastModified"]


@pytest.mark.parametrize("generation", WITH_BASH)
def test_a_skill_is_uploaded_as_a_batch_and_never_comes_back_as_an_output(
    talk: Talk, generation: str
) -> None:
    """Folders are kept; the code may change its copy, which changes nothing."""
    talking = talk(generation)
    files = [("skills/x/SKILL.md", "# x"), ("skills/x/lib/a.py", "A = 1")]
    about = {"kind": "skill", "id": "s1", "version": "7", "read_only": "true"}
    uploaded = talking.upload(*files, batch=True, **about)
    assert (uploaded["message"], uploaded["succeeded"]) == ("success", 2)
    for each in uploaded["files"]:
        one = {**uploaded, "files": [each]}
        reference = by_hand(talking, one, each["filename"], "skill") | {"version": 7}
        talking.do("remember", session_id=uploaded["session_id"], file=reference)
    ran = talking.bash("echo changed >> skills/x/SKILL.md; cat skills/x/lib/a.py; echo new > out.txt")
    assert "A = 1" in ran["text"]
    assert [f["name"] for f in ran["artifact"]["files"] if not f.get("inherited")] == ["out.txt"]
    assert "changed" not in talking.bash("cat skills/x/SKILL.md")["text"]


def test_the_oldest_clients_list_a_session_that_the_model_names(talk: Talk) -> None:
    """They take ids and names out of the listing."""
    talking = talk("A")
    uploaded = talking.upload(("in folder.txt", "listed"))
    args = {"lang": "py", "code": "print(open('in folder.txt').read())"}
    told = talking.do("callAlone", name="execute_code", args=args, session_id=uploaded["session_id"])
    assert "listed" in told["text"]


def test_a_deleted_file_is_gone_from_the_conversation(talk: Talk) -> None:
    """The newest client forgets what it is told was deleted."""
    talking = talk("D")
    talking.run("open('a.txt', 'w').write('1'); open('b.txt', 'w').write('2')")
    assert talking.bash("rm a.txt")["artifact"]["deleted_files"] == ["a.txt"]
    assert [file["name"] for file in talking.do("session")["files"]] == ["b.txt"]


def test_an_output_that_was_not_kept_is_told_to_the_newest_client(talk: Talk) -> None:
    """It warns the model in its own words."""
    told = talk("D").run("open('big.bin', 'wb').write(b'x' * 11_000_000)")
    assert told["artifact"]["artifact_delivery"]["failed"] == 1
    assert "big.bin" in told["text"]


def test_users_that_a_token_names_do_not_see_each_other(talk: Talk) -> None:
    """Same front end, two users, one reference."""
    anna = talk("D", user="anna")
    made = anna.run("open('secret.txt', 'w').write('anna')")["artifact"]["files"][0]
    reading = "print(open('secret.txt').read())"
    assert "anna" in anna.run(reading)["text"]
    boris = talk("D", user="boris")
    boris.do("remember", session_id=made["session_id"], file=made)
    assert "not authorized" in boris.run(reading)["text"]


@pytest.mark.parametrize("generation", WITH_BASH)
def test_the_shell_has_python_and_leaves_bytes_alone(talk: Talk, generation: str) -> None:
    """The front end reads files with cat and writes them with a heredoc for python3."""
    talking = talk(generation)
    talking.bash("python3 - <<'PY'\nopen('n.txt', 'w').write('  two\\n\\tlines \\n')\nPY")
    assert "stdout:\n  two\n\tlines" in talking.bash("cat '/mnt/data/n.txt'")["text"]


@pytest.mark.parametrize("generation", ALL)
def test_python_calls_tools_of_the_front_end(talk: Talk, generation: str) -> None:
    """One after the other, 25 at once, one that fails, and a file that is kept."""
    told = talk(generation).program(
        """
first = await square(n=3)
many = await asyncio.gather(*(square(n=n) for n in range(25)))
try:
    await get_fail()
except Exception as error:
    print("failed:", error)
open("sum.txt", "w").write(str(sum(each["square"] for each in many)))
print(first["square"], len(many))
"""
    )
    assert "stdout:\nfailed: no luck\n9 25" in told["text"]
    assert told["called"].count("square") == 26
    assert [file["name"] for file in told["artifact"]["files"]] == ["sum.txt"]


@pytest.mark.parametrize("generation", WITH_BASH)
def test_the_shell_calls_tools_of_the_front_end(talk: Talk, generation: str) -> None:
    """In subshells and background jobs; results are JSON."""
    told = talk(generation).program(
        """
set -euo pipefail
echo "$(square '{"n": 4}')"
for n in 1 2 3; do { r=$(square "{\\"n\\": $n}"); echo "$r" > "/mnt/data/$n.json"; } & done
wait
cat 1.json 2.json 3.json
get_fail '{}' || echo "status $?"
""",
        "bash",
    )
    lines = ['{"n":4,"square":16}', '{"n":1,"square":1}', '{"n":2,"square":4}', '{"n":3,"square":9}']
    assert "stdout:\n" + "\n".join([*lines, "status 1"]) in told["text"]
    assert "no luck" in told["text"]
    assert sorted(file["name"] for file in told["artifact"]["files"]) == ["1.json", "2.json", "3.json"]


@pytest.mark.parametrize("generation", ALL)
def test_a_program_of_tools_that_fails_shows_its_traceback(talk: Talk, generation: str) -> None:
    """As any program does."""
    told = talk(generation).program("print('before')\nawait square(n=1)\nraise ValueError('told')")
    assert "before" in told["text"]
    assert "ValueError: told" in told["text"]
