"""Attacks on what there is only so much of: memory, processes, disk, output, time."""

import pytest

from tests.hostile.conftest import Attack
from tests.sandboxes.bodies import MIB, Body, Result

pytestmark = pytest.mark.asyncio(loop_scope="session")

GO_ON = "import time; time.sleep(1); print('survived')\n"


async def ends_for_memory(attack: Attack, code: str, said: bytes = b"") -> None:
    """A program that does `code`, and would say so afterwards, is ended before that for its memory."""
    result = await attack(code + GO_ON, timeout_s=20.0)
    assert (result.exit.outcome, result.stdout) == ("out_of_memory", said), result


@pytest.mark.parametrize(
    "code",
    [
        "b = bytearray(2 << 30)",
        "x = []\nwhile True: x.append(bytearray(10 << 20))",
        "import mmap\nx = [mmap.mmap(-1, 50 << 20) for _ in range(40)]\nfor m in x: m.write(bytes(50 << 20))",
    ],
    ids=["one block", "bit by bit", "shared mappings"],
)
async def test_memory_by_every_route_ends_at_the_limit(attack: Attack, code: str) -> None:
    result = await attack(code, timeout_s=10.0)
    assert result.exit.outcome == "out_of_memory"
    assert result.exit.memory_bytes_peak < 512 * MIB


async def test_many_children_have_no_more_memory_than_one(body: Body, attack: Attack) -> None:
    code = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0:\n"
        "        held = bytearray(60 << 20); time.sleep(2); os._exit(0)\n"
        "print(sum(os.wait()[1] != 0 for _ in range(6)))\n"
    )
    result = await attack(code, timeout_s=20.0)
    if body.is_grouped:
        assert int(result.stdout) >= 4, "two of them fit"
    else:
        assert result.exit.outcome == "out_of_memory"


async def test_files_without_a_name_count_as_memory(attack: Attack) -> None:
    code = (
        "import os\n"
        "for number in range(40):\n"
        "    fd = os.memfd_create(str(number))\n"
        "    for _ in range(50): os.write(fd, bytes(1 << 20))\n"
    )
    await ends_for_memory(attack, code)


async def test_hiding_from_those_who_look_does_not_help(attack: Attack) -> None:
    """A process may forbid others to look into it; how large it is can be seen all the same."""
    code = (
        "import ctypes, os\n"
        "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
        "try: os.kill(1, 9)\n"
        "except OSError: pass\n"
        "try: os.kill(1, 19)\n"
        "except OSError: pass\n"
        "print('hidden', flush=True)\n"
        "held = bytearray(1 << 30)\n"
    )
    await ends_for_memory(attack, code, b"hidden\n")


async def test_raising_ones_own_chance_to_survive_does_not_help(attack: Attack) -> None:
    code = (
        "path = '/proc/self/oom_score_adj'\n"
        "for score in (-1000, -500, 0):\n"
        "    try: open(path, 'w').write(str(score))\n"
        "    except OSError: pass\n"
        "print(int(open(path).read()) >= 0, flush=True)\n"
        "b = bytearray(2 << 30)\n"
    )
    await ends_for_memory(attack, code, b"True\n")


BOMBS = {
    "py": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "bash": "f() { f | f & }; f; while :; do :; done",
}


@pytest.mark.parametrize("language", list(BOMBS))
async def test_a_fork_bomb_ends_with_its_time(body: Body, attack: Attack, language: str) -> None:
    result = await attack(BOMBS[language], language=language, timeout_s=2.0, memory_bytes_max=512 * MIB)
    refused_or_ended(body, result, "timed_out")


def refused_or_ended(body: Body, result: Result, outcome: str) -> None:
    """Who wants too many processes is refused and goes on; in a pod, where nobody refuses, it is ended."""
    if body.name == "pods" and result.exit.outcome == "killed":
        assert "may have 64 processes" in result.exit.message
    else:
        assert result.exit.outcome == outcome, result


async def test_threads_are_limited_as_processes_are(body: Body, attack: Attack) -> None:
    code = (
        "import threading, time\n"
        "n = 0\n"
        "try:\n"
        "    while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start(); n += 1\n"
        "except RuntimeError: print(n)\n"
    )
    result = await attack(code, timeout_s=10.0)
    refused_or_ended(body, result, "exited")
    assert int(result.stdout or 0) <= 64


@pytest.mark.parametrize("folder", [".", "/tmp", "/dev/shm", "/program"])
async def test_files_count_as_memory(attack: Attack, folder: str) -> None:
    code = (
        f"with open('{folder}/large', 'wb') as file:\n"
        "    for _ in range(240): file.write(bytes(1 << 20)); file.flush()\n"
    )
    await ends_for_memory(attack, code)


async def test_shared_memory_without_a_file_counts_as_memory(attack: Attack) -> None:
    code = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p\n"
        "for key in range(1, 20):\n"
        "    place = libc.shmat(libc.shmget(key, 50 << 20, 0o1600), None, 0)\n"
        "    ctypes.memset(place, 1, 50 << 20)\n"
    )
    await ends_for_memory(attack, code)


async def test_a_file_of_a_terabyte_that_holds_nothing_cannot_be(attack: Attack) -> None:
    code = (
        "import os\n"
        "for size in (1 << 40, 1 << 33):\n"
        "    try: os.truncate(os.open('sparse', os.O_CREAT | os.O_RDWR), size); print('made', size)\n"
        "    except OSError as error: print(error.errno == 27)\n"
    )
    result = await attack(code + "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + code)
    assert b"made" not in result.stdout
    assert result.exit.exit_code == 0 or result.exit.signal == "SIGXFSZ"


async def test_descriptors_and_what_pipes_hold_end_somewhere(attack: Attack) -> None:
    code = (
        "import fcntl, os\n"
        "opened = 0\n"
        "try:\n"
        "    while True:\n"
        "        ends = os.pipe(); opened += 2\n"
        "        os.set_blocking(ends[1], False)\n"
        "        try: fcntl.fcntl(ends[1], 1031, 1 << 20)\n"
        "        except OSError: pass\n"
        "        try: os.write(ends[1], bytes(1 << 20))\n"
        "        except BlockingIOError: pass\n"
        "except OSError as error: print(error.errno in (23, 24), opened < 100_000)\n"
    )
    result = await attack(code, timeout_s=20.0)
    assert result.stdout == b"True True\n" or result.exit.outcome == "out_of_memory"


async def test_killing_all_that_can_be_killed_ends_oneself_only(attack: Attack) -> None:
    code = "import os\ntry: os.kill(-1, 9)\nexcept ProcessLookupError: os.kill(0, 9)\nos.abort()"
    result = await attack(code)
    assert (result.exit.outcome, result.exit.signal) == ("killed", "SIGKILL")


async def test_no_disk_holds_more_than_its_size(attack: Attack) -> None:
    code = (
        "import os\n"
        "for folder in ('/mnt/data', '/tmp', '/dev/shm', '/program'):\n"
        "    wrote = 0\n"
        "    try:\n"
        "        for number in range(300):\n"
        "            with open(f'{folder}/f{number}', 'wb') as file: file.write(bytes(4 << 20))\n"
        "            wrote += 4\n"
        "    except OSError as error: print(folder, wrote, error.errno)\n"
        "    for name in os.listdir(folder):\n"
        "        if name != 'main.py': os.remove(f'{folder}/{name}')\n"
    )
    result = await attack(code, memory_bytes_max=600 * MIB, timeout_s=20.0)
    lines = [line.split() for line in result.stdout.decode().splitlines()]
    assert [line[0] for line in lines] == ["/mnt/data", "/tmp", "/dev/shm", "/program"]
    assert all(int(line[1]) <= 256 and line[2] == "28" for line in lines)


async def test_endless_empty_files_end_somewhere(attack: Attack) -> None:
    code = "n = 0\nwhile True:\n    open(f'/tmp/{n}', 'w').close(); n += 1"
    result = await attack(code, timeout_s=20.0)
    assert result.exit.outcome in ("out_of_memory", "timed_out", "exited")
    assert result.exit.memory_bytes_peak < 300 * MIB


async def test_a_flood_on_both_streams_is_cut(attack: Attack) -> None:
    result = await attack("yes & yes 1>&2", language="bash", output_bytes_max=10_000)
    assert len(result.stdout) + len(result.stderr) == 10_000
    assert result.exit.outcome in ("killed", "timed_out")


async def test_stopping_everybody_else_stops_nothing(attack: Attack) -> None:
    code = "sleep 100 & kill -STOP -1; kill -KILL 1; echo tried"
    result = await attack(code, language="bash", timeout_s=1.0)
    assert (result.exit.outcome, result.stdout) == ("exited", b"tried\n")


async def test_closing_everything_and_spinning_ends_with_the_time(attack: Attack) -> None:
    result = await attack("import os\nos.closerange(0, 1000)\nwhile True: pass", timeout_s=0.5)
    assert result.exit.outcome == "timed_out"


async def test_limits_cannot_be_raised(attack: Attack) -> None:
    code = (
        "import resource as r\n"
        "for kind in (r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE, r.RLIMIT_MEMLOCK):\n"
        "    try: r.setrlimit(kind, (1 << 40, 1 << 40)); print('raised', kind)\n"
        "    except (OSError, ValueError): pass\n"
    )
    assert (await attack(code)).stdout == b""


async def test_a_crowd_of_hogs_leaves_the_service_standing(body: Body, attack: Attack) -> None:
    import asyncio

    hog = "x = []\nwhile True: x.append(bytearray(10 << 20))"
    results = await asyncio.gather(*(attack(hog, timeout_s=20.0) for _ in range(5)))
    assert {result.exit.outcome for result in results} == {"out_of_memory"}
