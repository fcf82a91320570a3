"""Files of a hostile program: what is collected is in the working directory, regular, and what it seems."""

import pytest

from tests.sandboxes.bodies import Body

pytestmark = pytest.mark.asyncio(loop_scope="session")

FURNISH = r"""
import os, socket
os.symlink("/etc/passwd", "link"); os.symlink("/", "root"); os.symlink("..", "up")
os.symlink("/proc/self/fd/0", "fd")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
try: os.mknod("device", 0o60666, os.makedev(254, 0))
except OSError as error: print(error.strerror)
try: os.link("/etc/hosts", "hard")
except OSError as error: print(error.strerror)
open("ok.txt", "w").write("fine")
"""


async def test_only_regular_files_are_collected(local: Body) -> None:
    result = await local.run(FURNISH, files_max=100)
    assert result.files == {"ok.txt": b"fine"}
    assert {name for name, _ in result.changes.skipped} == {"link", "root", "up", "fd", "fifo", "socket"}
    assert all(why == "no regular file" for _, why in result.changes.skipped)


async def test_reading_never_follows_a_link(local: Body) -> None:
    from sandboxes.protocol import Program, SandboxFailed
    from tests.sandboxes.bodies import finish, read

    sandbox = await local.acquire()
    await finish(sandbox, Program(FURNISH))
    for name in (
        "link",
        "root/etc/passwd",
        "up/data/ok.txt",
        "fd",
        "../../etc/passwd",
        "/etc/passwd",
        "fifo",
    ):
        with pytest.raises(SandboxFailed):
            await read(sandbox, name)
    assert await read(sandbox, "ok.txt") == b"fine"
    await sandbox.close()


async def test_names_that_are_no_utf_8_are_told_and_do_no_harm(local: Body) -> None:
    result = await local.run("open(b'\\xff\\xfe.bin', 'wb').write(b'x'); open('fine', 'w').write('y')")
    assert result.files == {"fine": b"y"}
    assert result.changes.skipped == [("\ufffd\ufffd.bin", "its name is no UTF-8")]


async def test_odd_but_legal_names_survive(local: Body) -> None:
    names = ["two words.txt", "$(rm -rf).txt", "-rf", "ünï/cödé"]
    code = f"import os\nos.mkdir('ünï')\nfor name in {names!r}: open(name, 'w').write(name)"
    result = await local.run(code)
    assert result.files == {name: name.encode() for name in names}


async def test_a_deep_tree_is_cut_and_costs_no_descriptors(local: Body) -> None:
    code = "import os\nfor level in range(300):\n    open('f', 'w').write('x'); os.mkdir('d'); os.chdir('d')"
    result = await local.run(code, files_max=100)
    assert len(result.files) == 10
    assert len(result.changes.skipped) == 2


async def test_ten_thousand_folders_are_too_many_to_look_at_and_no_more(local: Body) -> None:
    code = "import os\nfor number in range(12000): os.mkdir(f'd{number}')\nopen('a', 'w')"
    result = await local.run(code, memory_bytes_max=1 << 30)
    assert ("...", "more than 10000 entries") in result.changes.skipped


async def test_a_sparse_file_is_as_large_as_it_says(local: Body) -> None:
    result = await local.run("import os\nopen('big', 'w').close(); os.truncate('big', 200 << 20)")
    assert result.files == {}
    ((name, why),) = result.changes.skipped
    assert name == "big"
    assert str(200 << 20) in why


async def test_files_beyond_the_total_are_left_behind(local: Body) -> None:
    code = "for name in 'abc': open(name, 'w').write('x' * 1000)"
    result = await local.run(code, files_bytes_max=2500)
    assert sorted(result.files) == ["a", "b"]
    assert [name for name, _ in result.changes.skipped] == ["c"]


async def test_a_change_that_hides_its_time_and_size_is_seen(local: Body) -> None:
    code = (
        "import os\n"
        "before = os.stat('in.txt')\n"
        "open('in.txt', 'r+').write('new')\n"
        "os.utime('in.txt', ns=(before.st_atime_ns, before.st_mtime_ns))\n"
    )
    result = await local.run(code, files={"in.txt": b"old"})
    assert result.files == {"in.txt": b"new"}


async def test_reading_an_input_is_no_change(local: Body) -> None:
    result = await local.run("open('in.txt').read()", files={"in.txt": b"same", "d/e/f.txt": b"too"})
    assert (result.changes.produced, result.changes.deleted) == ([], [])


async def test_an_input_belongs_to_the_program(local: Body) -> None:
    code = (
        "import os\n"
        "open('d/in.txt', 'a').write('+'); os.rename('d/in.txt', 'd/moved.txt')\n"
        "os.remove('e'); os.mkdir('e')"
    )
    result = await local.run(code, files={"d/in.txt": b"given", "e": b"x"})
    assert result.files == {"d/moved.txt": b"given+"}
    assert sorted(result.changes.deleted) == ["d/in.txt", "e"]


async def test_more_input_than_the_disk_holds_is_refused(local: Body) -> None:
    from infra.errors import RequestRefused

    async def endless():
        while True:
            yield bytes(1 << 20)

    sandbox = await local.acquire()
    with pytest.raises(RequestRefused, match="256 MiB"):
        await sandbox.put_file("big", endless())
    await sandbox.close()
