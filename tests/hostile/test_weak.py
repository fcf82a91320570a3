"""Tier D alone: what stands where no namespace does."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from sandboxes.protocol import SandboxFailed
from sandboxes.toolchain import Toolchain
from tests.hostile.conftest import find_in
from tests.sandboxes.bodies import WEAK_UID_FIRST, Body, standing

STATE = Path("/tmp/millrace-weak")


@pytest.fixture
async def weak(found: dict[int, dict[str, Toolchain]]) -> AsyncIterator[Body]:
    sandboxes = await standing("tier-D", find_in(found), uid_first=WEAK_UID_FIRST + 2000, uids=50)
    yield Body("tier-D", sandboxes)
    await sandboxes.close()
    assert processes() == []
    assert folders() == []


def is_ours(uid: int) -> bool:
    return WEAK_UID_FIRST + 2000 <= uid < WEAK_UID_FIRST + 2050


def processes() -> list[int]:
    """Return the processes of this file's users."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            lines = (folder / "status").read_text().splitlines() if folder.name.isdigit() else []
        except OSError:
            continue
        found += [
            int(folder.name) for line in lines if line.startswith("Uid:") and is_ours(int(line.split()[1]))
        ]
    return found


def folders() -> list[str]:
    return [folder.name for folder in STATE.iterdir() if is_ours(int(folder.name))]


async def test_a_program_is_a_user_of_its_own_without_powers(weak: Body) -> None:
    code = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None)\n"
        "print(len({os.getgid(), *os.getresuid(), *os.getresgid()}), os.getgroups())\n"
        "print(libc.prctl(39, 0, 0, 0, 0), [c for c in range(64) if libc.prctl(23, c, 0, 0, 0) == 1])\n"
        "held = ctypes.create_string_buffer(24)\n"
        "libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), held); print(held.raw == bytes(24))\n"
        "try: os.setuid(0); print('root')\n"
        "except OSError: pass\n"
    )
    assert (await weak.run(code)).stdout == b"1 []\n1 []\nTrue\n"


async def test_files_of_the_host_can_neither_be_read_nor_written(weak: Body, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    for folder in (secret, *tmp_path.parents[:3], tmp_path):
        if folder != Path("/tmp"):
            folder.chmod(0o777)
    code = (
        "import os\n"
        "of_the_host = '/etc/passwd /etc/hostname /proc/1/cmdline /proc/self/environ /dev/tty'\n"
        f"for path in ['{secret}', *of_the_host.split()]:\n"
        "    for flags in (os.O_RDONLY, os.O_WRONLY):\n"
        "        try: os.close(os.open(path, flags)); print('opened', path)\n"
        "        except OSError: pass\n"
        f"for path in ('{tmp_path}/new', '/tmp/new', '/dev/shm/new', '/mnt/new'):\n"
        "    try: open(path, 'w').close(); print('made', path)\n"
        "    except OSError: pass\n"
        f"try: os.unlink('{secret}'); print('deleted')\n"
        "except OSError: pass\n"
    )
    assert (await weak.run(code)).stdout == b""
    assert secret.read_text() == "canary"


async def test_no_socket_of_the_host_is_reached_by_stream_or_datagram(weak: Body) -> None:
    name = f"millrace-canary-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as server:
        server.bind("\0" + name)
        server.setblocking(False)
        code = (
            "import socket\n"
            "one, other = socket.socketpair(); one.send(b'x'); print(other.recv(1))\n"
            "for make in (lambda: socket.socketpair(1, 2)[0], lambda: socket.socket(1, 2), lambda: one):\n"
            f"    try: make().sendto(b'x', '\\0{name}')\n"
            "    except OSError: pass\n"
        )
        assert (await weak.run(code)).stdout == b"b'x'\n"
        with pytest.raises(BlockingIOError):
            server.recv(1)


async def test_one_can_neither_see_nor_end_its_neighbour(weak: Body) -> None:
    sandbox = await weak.acquire()
    other = folders()[0]
    code = (
        "import os\n"
        f"try: print(os.listdir('{STATE}/{other}'))\n"
        "except OSError: pass\n"
        f"for pid in {processes()}:\n"
        "    try: os.kill(pid, 9); print('killed')\n"
        "    except OSError: pass\n"
    )
    try:
        assert (await weak.run(code)).stdout == b""
    finally:
        await sandbox.close()


async def test_daemons_die_with_the_program_that_left_them(weak: Body) -> None:
    code = "for i in 1 2 3; do (trap '' TERM HUP; setsid sleep 1000 &); done; setsid sleep 1000 & echo left"
    result = await weak.run(code, language="bash")
    assert (result.exit.outcome, result.stdout) == ("exited", b"left\n")
    assert processes() == []


async def test_who_kills_process_1_fails_and_leaves_nothing(weak: Body) -> None:
    with pytest.raises(SandboxFailed):
        await weak.run("setsid sleep 1000 & kill -KILL $PPID; sleep 1000", language="bash")
    assert processes() == []
    assert (await weak.run("print(1)")).stdout == b"1\n"


async def test_a_dead_services_folder_and_programs_are_swept(
    weak: Body, found: dict[int, dict[str, Toolchain]]
) -> None:
    """As after a `kill -9` of service and outer process both."""
    uid = WEAK_UID_FIRST + 2040
    (STATE / str(uid)).mkdir(mode=0o700)
    (STATE / str(uid) / "file").write_text("x")
    left = await asyncio.create_subprocess_exec("sleep", "1000", user=uid, group=uid, extra_groups=[])
    successor = await standing("tier-D", find_in(found), uid_first=WEAK_UID_FIRST + 2000, uids=50)
    await successor.close()
    assert await left.wait() == -9
