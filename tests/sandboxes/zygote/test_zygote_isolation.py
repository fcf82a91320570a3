# ruff: noqa: E501  programs stand on one line each
"""What a program in a warm child finds around it: its own namespaces, no privileges, nothing of others."""

import json
import re
from pathlib import Path

import pytest

from sandboxes.local.zygote_pool import ZygotePool

from .conftest import run_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMESPACES = ("user", "mnt", "pid", "ipc", "uts", "cgroup", "net")
TELL = "import json, os, re, socket\ndef tell(x): print(json.dumps(x))\n"
STATUS = "status = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().split('\\n') if ':\\t' in l)\n"


def namespaces_of(pid: object) -> dict[str, str]:
    """Return which namespaces a process of the host is in."""
    return {name: str(Path(f"/proc/{pid}/ns/{name}").readlink()) for name in NAMESPACES}


def parent_of(pid: int) -> int:
    """Return who made a process."""
    return int(Path(f"/proc/{pid}/status").read_text().split("PPid:\t")[1].split()[0])


async def told(run, code: str) -> object:
    """Run `code`, which tells one thing."""
    result = await run(TELL + code)
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


async def test_it_has_no_privilege_and_cannot_get_any(run) -> None:
    """All five capability sets are empty, no new privileges, a filter is in force."""
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Groups", "Uid")
    status = await told(run, STATUS + f"tell([status[name].split() for name in {names}])")
    none = ["0" * 16]
    assert status[:7] == [none] * 5 + [["1"], ["2"]]
    assert set(status[7]) <= {"65534", "1000"}
    assert status[8] == ["1000"] * 4


async def test_every_namespace_is_its_own(run, pool: ZygotePool) -> None:
    """None is the host's, none the zygote's, none a sibling's."""
    child = await pool.take()
    ours, before, one = map(namespaces_of, ("self", parent_of(child.pid), child.pid))
    other = await told(run, f"tell({{n: os.readlink('/proc/self/ns/' + n) for n in {NAMESPACES}}})")
    await child.close()
    for name in NAMESPACES:
        assert len({ours[name], before[name], one[name], other[name]}) == 4, name


async def test_it_sees_its_own_processes_only(run) -> None:
    """Process 1 is a stranger without memory or descriptors to look into; itself it can look into."""
    seen = await told(
        run,
        "def can(p):\n"
        "    try: open(p, 'rb').read(1); return True\n"
        "    except OSError: return False\n"
        "tell([sorted(int(d) for d in os.listdir('/proc') if d.isdigit()), os.getpid(),\n"
        "      [can('/proc/1/' + n) for n in ('environ', 'mem', 'maps')], can('/proc/self/maps'),\n"
        "      can('/proc/1/fd/0'), sorted(os.listdir('/proc/self/fd'))])",
    )
    assert seen[:4] == [[1, 2], 2, [False] * 3, True]
    assert seen[4] is False
    assert set(seen[5]) - {"0", "1", "2", "3"} <= {"4"}, "only the listing's own descriptor comes on top"


async def test_the_host_is_absent(run) -> None:
    """No home, no accounts, no run-time data, no sysfs; only the writable folders can be written."""
    places = ("/root", "/home", "/run", "/var", "/sys", "/etc/shadow", str(Path(__file__)))
    assert await told(run, f"tell([os.path.exists(p) for p in {places}])") == [False] * len(places)
    writable = await told(
        run,
        "found = []\n"
        "for top, folders, _ in os.walk('/'):\n"
        "    if top.startswith('/proc'): folders.clear(); continue\n"
        "    try: open(top + '/new', 'w').close(); found.append(top)\n"
        "    except OSError: pass\n"
        "tell(sorted(found))",
    )
    assert writable == ["/dev/shm", "/mnt/data", "/program", "/tmp"]


async def test_nothing_of_a_sibling_is_left(run) -> None:
    """Files, modules, builtins and shared memory of one program are unknown to the next."""
    write = (
        "import builtins, multiprocessing.shared_memory as m\nbuiltins.EVIL = json.EVIL = 1\n"
        "for d in ('/tmp', '/dev/shm', '/mnt/data', '/program'): open(d + '/evil', 'w').write('x')\n"
        "tell(m.SharedMemory('bad', True, 10).size)"
    )
    assert await told(run, write) == 10
    read = (
        "import builtins\ntell([hasattr(builtins, 'EVIL'), hasattr(json, 'EVIL'),\n"
        "[os.listdir(d) for d in ('/tmp', '/dev/shm', '/mnt/data', '/program')]])"
    )
    assert await told(run, read) == [False, False, [[], [], [], ["main.py"]]]


async def test_waiting_siblings_cannot_reach_each_other(pool: ZygotePool) -> None:
    """Two programs at the same time: neither sees the other's process, file, socket or shared memory."""
    one, two = await pool.take(), await pool.take()
    try:
        await run_in(
            one,
            "import os, socket\nopen('/tmp/here', 'w')\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0abstract')\n"
            "s.listen()\nt = socket.create_server(('127.0.0.1', 4321))\nif os.fork() == 0: os.execvp('sleep', ['sleep', '9'])",
        )
        seen = await run_in(
            two,
            TELL + "def fails(a, f):\n"
            "    try: socket.socket(f).connect(a); return False\n"
            "    except OSError: return True\n"
            "tell([os.path.exists('/tmp/here'), fails('\\0abstract', socket.AF_UNIX),\n"
            "fails(('127.0.0.1', 4321), socket.AF_INET), [d for d in os.listdir('/proc') if d.isdigit()]])",
        )
        assert json.loads(seen.stdout) == [False, True, True, ["1", "2"]]
    finally:
        await one.close()
        await two.close()


async def test_randomness_is_fresh(run) -> None:
    """What programs draw, name or sign with differs from child to child."""
    draw = (
        "import random, uuid, tempfile, secrets, multiprocessing, hashlib\n"
        "tell([random.random(), uuid.uuid4().hex, tempfile.mktemp(), secrets.token_hex(),\n"
        "multiprocessing.current_process().authkey.hex()])"
    )
    first, second = await told(run, draw), await told(run, draw)
    assert all(a != b for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("what", "attempt"),
    [
        ("a user namespace", "libc.unshare(0x10000000)"),
        ("a mount", "libc.mount(b'x', b'/tmp', b'tmpfs', 0, None)"),
        ("an unmount", "libc.umount2(b'/proc', 2)"),
        ("tracing", "libc.ptrace(16, 1, 0, 0)"),
        ("a keyring", "libc.syscall(250, 0, -3, 0)"),
        ("another root", "libc.chroot(b'/tmp')"),
        ("the host name", "libc.sethostname(b'x', 1)"),
        ("becoming root", "libc.setuid(0)"),
    ],
)
async def test_it_is_refused(run, what: str, attempt: str) -> None:
    """The kernel answers with an error and the program lives on."""
    code = f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\ntell([{attempt}, ctypes.get_errno()])"
    result, code_of_error = await told(run, code)
    assert (result, code_of_error in (1, 22)) == (-1, True), what


async def test_limits_of_the_order_are_in_force_and_cannot_be_raised(run) -> None:
    """Hard and soft limits alike, for the program and what it starts."""
    code = (
        TELL + "import resource as r, subprocess\n"
        "try: r.setrlimit(r.RLIMIT_NOFILE, (2048, 2048)); raised = True\n"
        "except (ValueError, OSError): raised = False\n"
        "tell([r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE), raised,\n"
        "subprocess.run('ulimit -n', shell=True, capture_output=True, text=True).stdout])"
    )
    result = await run(code, rlimits={"NOFILE": 100})
    assert json.loads(result.stdout) == [[100, 100], [0, 0], False, "100\n"]


async def test_processes_are_limited_even_without_control_groups(run) -> None:
    """The user namespace carries the limit it was made with; siblings have their own."""
    code = (
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(600)\n        n += 1\n"
        "except BlockingIOError: print(n)"
    )
    result = await run(code)
    assert 40 <= int(result.stdout) <= 64


async def test_each_writable_folder_has_its_size(run) -> None:
    """A full folder says so, and the others still have room."""
    code = (
        "for d in ('/mnt/data', '/tmp', '/dev/shm', '/program'):\n"
        "    try:\n        with open(d + '/f', 'wb') as f:\n            for n in range(100): f.write(b'x' * (1 << 20))\n"
        "    except OSError as e: print(d, e.errno, 30 <= n <= 32)"
    )
    result = await run(code)
    assert re.findall(r" 28 True", result.stdout) == [" 28 True"] * 4
