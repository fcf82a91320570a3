"""Attacks on the wall itself: the host's files, kernel, network and processes."""

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from sandboxes.protocol import Program
from tests.hostile.conftest import Attack
from tests.sandboxes.bodies import Body

pytestmark = pytest.mark.asyncio(loop_scope="session")

SYSCALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, *arguments):
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    if libc.syscall(*words) >= 0: print(name)
NEWUSER, NEWNS, NEWNET = 0x10000000, 0x20000, 0x40000000
attempt("unshare user", 272, NEWUSER)
attempt("unshare net", 272, NEWNET)
attempt("clone user", 56, NEWUSER | 17, 0, 0, 0, 0)
attempt("clone3", 435, 0, 0)
attempt("mount", 165, b"x", b"/tmp", b"tmpfs", 0, 0)
attempt("remount", 165, 0, b"/", 0, 32, 0)
attempt("umount", 166, b"/proc", 2)
attempt("pivot_root", 155, b"/tmp", b"/tmp")
attempt("chroot", 161, b"/tmp")
attempt("setns", 308, 0, 0)
attempt("ptrace", 101, 0, 0, 0, 0)
attempt("process_vm_readv", 310, 1, 0, 0, 0, 0, 0)
attempt("bpf", 321, 0, 0, 0)
attempt("perf_event_open", 298, 0, 0, -1, -1, 0)
attempt("io_uring_setup", 425, 1, ctypes.create_string_buffer(120))
attempt("userfaultfd", 323, 0)
attempt("keyctl", 250, 0, -3, 0)
attempt("add_key", 248, b"user", b"x", b"y", 1, -3)
attempt("open_by_handle_at", 304, -1, 0, 0)
attempt("setuid 0", 105, 0)
attempt("reboot", 169, 0, 0, 0, 0)
attempt("syslog", 103, 3, 0, 0)
attempt("init_module", 175, 0, 0, 0)
attempt("kexec_load", 246, 0, 0, 0, 0)
attempt("settimeofday", 164, 0, 0)
attempt("sethostname", 170, b"x", 1)
attempt("swapon", 167, b"x", 0)
attempt("iopl", 172, 3)
attempt("ioperm", 173, 0, 1, 1)
attempt("process_vm_writev", 311, 1, 0, 0, 0, 0, 0)
attempt("request_key", 249, b"user", b"x", 0, 0)
attempt("io_uring_enter", 426, 0, 0, 0, 0, 0, 0)
attempt("io_uring_register", 427, 0, 0, 0, 0)
attempt("open_tree", 428, -100, b"/", 1)
attempt("move_mount", 429, -100, b"/tmp", -100, b"/mnt", 0)
attempt("fsopen", 430, b"tmpfs", 0)
attempt("fspick", 433, -100, b"/", 0)
attempt("mount_setattr", 442, -100, b"/", 0, ctypes.create_string_buffer(32), 32)
attempt("pidfd_getfd", 438, os.pidfd_open(os.getppid() or 1), 0, 0)
attempt("kcmp", 312, 1, os.getpid(), 0, 0, 0)
attempt("finit_module", 313, 0, b"", 0)
attempt("delete_module", 176, b"x", 0)
attempt("kexec_file_load", 320, 0, 0, 0, b"", 0)
attempt("fanotify_init", 300, 0, 0)
attempt("acct", 163, b"/tmp/x")
attempt("quotactl", 179, 0, 0, 0, 0)
attempt("setdomainname", 171, b"x", 1)
attempt("clock_settime", 227, 0, ctypes.create_string_buffer(16))
attempt("a device", 133, b"/tmp/device", 0o20666, 0x101)
print("done")
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system-call numbers of x86_64")
async def test_no_dangerous_system_call_works(attack: Attack) -> None:
    result = await attack(SYSCALLS)
    assert result.stdout == b"done\n"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="another machine's system calls")
async def test_system_calls_of_other_ages_are_deadly(attack: Attack) -> None:
    result = await attack("import ctypes\nprint(ctypes.CDLL(None).syscall(0x40000000 + 39))")
    assert (result.exit.outcome, result.exit.signal) == ("killed", "SIGSYS")
    assert "not allowed" in result.exit.message


async def test_nothing_outside_the_writable_places_can_be_written(attack: Attack) -> None:
    code = (
        "import os\n"
        "for place in '/ /usr /usr/bin /etc /bin /lib /dev /proc /mnt /proc/sys/kernel'.split():\n"
        "    try:\n"
        "        open(place + '/x', 'w').close(); print('wrote', place)\n"
        "    except OSError: pass\n"
        "for path in ('sys/kernel/core_pattern', 'sysrq-trigger', 'sys/user/max_user_namespaces'):\n"
        "    try:\n"
        "        os.close(os.open('/proc/' + path, os.O_WRONLY)); print('opened', path)\n"
        "    except OSError: pass\n"
    )
    assert (await attack(code)).stdout == b""


async def test_secrets_of_the_host_are_not_there(attack: Attack) -> None:
    code = (
        "import os\n"
        "secret = '/root /var/lib /var/log /run /sys /boot /srv /etc/ssh /etc/shadow /etc/machine-id'\n"
        "print([path for path in secret.split() if os.path.exists(path)])\n"
        "for folder, folders, names in (each for top in ('/home', '/var') for each in os.walk(top)):\n"
        "    if folder.endswith('/millrace'): folders.clear()  # caches of compilers\n"
        "    for name in names: print(folder, name)\n"
        "print(open('/etc/passwd').read().count('\\n'), os.uname().nodename)\n"
    )
    assert (await attack(code)).stdout == b"[]\n2 sandbox\n"


async def test_nothing_of_the_services_environment_comes_in(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_CANARY", "canary-7f3a")
    code = (
        "import os, glob\n"
        "text = repr(os.environ)\n"
        "for path in glob.glob('/proc/*/environ'):\n"
        "    try: text += open(path).read()\n"
        "    except OSError: pass\n"
        "print('canary' in text.lower(), sorted(os.environ))\n"
    )
    result = await attack(code)
    assert result.stdout.startswith(b"False ")
    assert b"API" not in result.stdout


async def test_a_program_has_no_powers_and_only_its_own_descriptors(body: Body, attack: Attack) -> None:
    code = (
        "import os\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "names = ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')\n"
        "print([int(status[name], 16) for name in names])\n"
        "print(status['NoNewPrivs'].strip(), status['Seccomp'].strip(), os.getuid(), os.getgid())\n"
        "print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])\n"
        "try: os.open('/dev/tty', os.O_RDWR); print('a terminal')\n"
        "except OSError: pass\n"
    )
    result = await attack(code)
    ids = f"{body.guest_id} {body.guest_id}"
    assert result.stdout.decode() == f"[0, 0, 0, 0, 0]\n1 2 {ids}\n[0, 1, 2]\n"


async def test_only_the_programs_own_processes_can_be_seen(attack: Attack) -> None:
    code = (
        "import os\nprint({name for name in os.listdir('/proc') if name.isdigit()} - {'1', str(os.getpid())})"
    )
    assert (await attack(code)).stdout == b"set()\n"


async def test_process_1_cannot_be_read_written_or_talked_for(attack: Attack) -> None:
    code = (
        "import os\n"
        "for name, flags in (('mem', os.O_RDWR), ('mem', 0), ('environ', 0), ('maps', 0), ('auxv', 0)):\n"
        "    try: print('opened', name, os.read(os.open('/proc/1/' + name, flags), 10))\n"
        "    except OSError: pass\n"
        "for name in ('fd', 'root', 'cwd'):\n"
        "    try:\n"
        "        for entry in os.listdir('/proc/1/' + name): print('listed', name, entry)\n"
        "    except OSError: pass\n"
    )
    assert (await attack(code)).stdout == b""


async def test_no_packet_leaves(attack: Attack) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        code = (
            "import socket\n"
            "def attempt(name, work):\n"
            "    try: work(); print(name)\n"
            "    except OSError: pass\n"
            f"attempt('the host', lambda: socket.create_connection(('127.0.0.1', {port}), 1))\n"
            "attempt('outside', lambda: socket.create_connection(('1.1.1.1', 53), 1))\n"
            "attempt('a name', lambda: socket.getaddrinfo('example.com', 80))\n"
            "attempt('udp', lambda: socket.socket(2, 2).sendto(b'x', ('8.8.8.8', 53)))\n"
            "for family, kind in ((16, 3), (17, 3), (40, 1), (38, 5), (2, 3), (10, 3)):\n"
            "    attempt(f'family {family}', lambda: socket.socket(family, kind, 0))\n"
        )
        result = await attack(code)
    assert result.stdout == b""


async def test_the_sandbox_has_a_loopback_of_its_own(attack: Attack) -> None:
    code = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(server.getsockname()); client.send(b'hello')\n"
        "print(server.accept()[0].recv(9))\n"
    )
    assert (await attack(code)).stdout == b"b'hello'\n"


async def test_sockets_of_the_host_without_a_path_are_out_of_reach(attack: Attack) -> None:
    name = f"millrace-canary-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind("\0" + name)
        server.listen()
        code = (
            "import socket\n"
            f"try: socket.socket(socket.AF_UNIX).connect('\\0{name}'); print('connected')\n"
            "except OSError: pass\n"
        )
        assert (await attack(code)).stdout == b""


async def test_a_setuid_program_gives_nothing(body: Body, attack: Attack) -> None:
    code = "for tool in su sudo pkexec; do $tool -c 'id -u' 2>/dev/null; done; id -u"
    assert (await attack(code, language="bash")).stdout.decode() == f"{body.guest_id}\n"


async def test_only_harmless_devices_are_there(attack: Attack) -> None:
    code = (
        "import os, stat\n"
        "for folder, _, names in os.walk('/dev'):\n"
        "    for name in names:\n"
        "        mode = os.stat(f'{folder}/{name}', follow_symlinks=False).st_mode\n"
        "        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode): print(name)\n"
    )
    harmless = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}
    assert set((await attack(code)).stdout.decode().split()) <= harmless


async def test_control_groups_cannot_be_changed(attack: Attack) -> None:
    code = (
        "import os\n"
        "for folder, folders, names in os.walk('/sys/fs/cgroup'):\n"
        "    for name in names:\n"
        "        try: os.close(os.open(f'{folder}/{name}', os.O_WRONLY)); print('opened', folder, name)\n"
        "        except OSError: pass\n"
        "    try: os.mkdir(folder + '/more'); print('made', folder)\n"
        "    except OSError: pass\n"
    )
    assert (await attack(code, timeout_s=20.0)).stdout == b""


async def test_what_is_linked_out_of_the_sandbox_is_not_collected(attack: Attack, tmp_path: Path) -> None:
    """By either kind of link, by a folder that is one, or by a name that means another place."""
    secret = tmp_path / "secret.txt"
    secret.write_text("canary-9d2b")
    code = (
        "import os, socket\n"
        f"for number, place in enumerate(('{secret}', '/etc/passwd', '/proc/self/environ', '/dev/zero')):\n"
        "    for link in (os.symlink, os.link):\n"
        "        try: link(place, f'{link.__name__}{number}.txt')\n"
        "        except OSError: pass\n"
        f"os.symlink('{tmp_path}', 'folder')\n"
        "os.mkfifo('fifo'); os.makedirs('/'.join('d' * 200))\n"
        "open('well.txt', 'w').write('well')\n"
    )
    result = await attack(code)
    assert result.files == {"well.txt": b"well"}


CANARY = "canary-40c1"
_HIDE = (
    "import mmap, os, socket, sys, time\n"
    "canary = sys.stdin.readline().strip()\n"
    "for folder in ('.', '/tmp', '/dev/shm', os.environ.get('HOME', '/tmp')):\n"
    "    try: open(f'{folder}/{canary}', 'w').write(canary)\n"
    "    except OSError: pass\n"
    "try: server = socket.socket(socket.AF_UNIX); server.bind('\\0tenant'); server.listen()\n"
    "except OSError: pass\n"
    "print('hidden', flush=True)\n"
    "time.sleep(3)\n"
)
_SEEK = (
    "import os, socket, time\n"
    "word = 'canary-' + '40c1'\n"
    "deadline = time.monotonic() + 2\n"
    "while time.monotonic() < deadline:\n"
    "    try: socket.socket(socket.AF_UNIX).connect('\\0tenant'); print('met')\n"
    "    except OSError: pass\n"
    "    try: pids = list(filter(str.isdigit, os.listdir('/proc')))\n"
    "    except OSError: pids = []\n"
    "    for pid in pids:\n"
    "        for name in ('cmdline', 'environ', 'comm'):\n"
    "            try:\n"
    "                if word in open(f'/proc/{pid}/{name}', errors='replace').read(): print(pid, name)\n"
    "            except OSError: pass\n"
    "    for top in ('.', '/tmp', '/dev/shm', '/mnt', '/program', '/var'):\n"
    "        for folder, _, names in os.walk(top):\n"
    "            if any(word in name for name in names): print(folder)\n"
    "print('sought')\n"
)


async def test_a_canary_of_another_tenant_is_never_seen(body: Body, attack: Attack) -> None:
    """It is in the other's input, environment, arguments, files and a socket, at the same time."""
    import asyncio

    theirs = Program(_HIDE, args=[CANARY], env={"CANARY": CANARY}, stdin=f"{CANARY}\n".encode())
    hiding = asyncio.create_task(body.run(theirs, files={f"{CANARY}.csv": CANARY.encode()}, timeout_s=20.0))
    sought = await attack(_SEEK, timeout_s=20.0)
    assert sought.stdout == b"sought\n"
    assert (await hiding).stdout == b"hidden\n"


async def test_nothing_of_a_tenant_is_left_when_its_execution_is_over(body: Body, attack: Attack) -> None:
    theirs = Program(_HIDE.replace("sleep(3)", "sleep(0)"), args=[CANARY], stdin=f"{CANARY}\n".encode())
    assert (await body.run(theirs)).stdout == b"hidden\n"
    for _ in range(3):
        assert (await attack(_SEEK.replace("+ 2", "+ 0.1"), timeout_s=20.0)).stdout == b"sought\n"


async def test_no_question_for_a_name_leaves(attack: Attack) -> None:
    """Names are a way out where packets are not looked at: nothing may arrive at any address of the host."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("0.0.0.0", 0))
        server.setblocking(False)
        here = {address[4][0] for address in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        code = (
            "import socket\n"
            "def attempt(work):\n"
            "    try: work()\n"
            "    except OSError: pass\n"
            f"for host in ['127.0.0.1', '255.255.255.255', *{sorted(here)}]:\n"
            "    attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
            f".sendto(b'canary', (host, {server.getsockname()[1]})))\n"
            "for name in ('canary.example.com', 'localhost.canary.example', 'redis', 'kubernetes.default'):\n"
            "    try: print(socket.getaddrinfo(name, 6379))\n"
            "    except OSError: pass\n"
        )
        result = await attack(code, timeout_s=20.0)
        assert result.stdout == b""
        with pytest.raises(BlockingIOError):
            server.recv(100)


async def test_no_socket_file_of_the_host_is_reached(attack: Attack, tmp_path: Path) -> None:
    """The embedded broker listens on one."""
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(tmp_path / "s"))
        (tmp_path / "s").chmod(0o777)
        server.listen()
        code = (
            "import socket\n"
            f"for path in ('{tmp_path}/s', '/run/docker.sock', '/var/run/dbus/system_bus_socket'):\n"
            "    try: socket.socket(socket.AF_UNIX).connect(path); print('connected', path)\n"
            "    except OSError: pass\n"
        )
        assert (await attack(code)).stdout == b""


async def test_one_execution_leaves_nothing_for_the_next(body: Body, attack: Attack) -> None:
    places = "('/mnt/data', '/tmp', '/dev/shm', '/program')"
    await attack(f"for place in {places}: open(place + '/canary', 'w').write('x')")
    code = f"import os\nprint([place for place in {places} if 'canary' in os.listdir(place)])"
    assert (await body.run(code)).stdout == b"[]\n"


async def test_shared_memory_of_one_is_not_seen_by_another(body: Body, attack: Attack) -> None:
    import asyncio

    make = "import ctypes, time\nprint(ctypes.CDLL(None).shmget(4242, 4096, 0o1666) >= 0)\ntime.sleep(1)"
    look = "import ctypes, time\ntime.sleep(0.3)\nprint(ctypes.CDLL(None).shmget(4242, 4096, 0o666))"
    made, looked = await asyncio.gather(attack(make), attack(look))
    assert (made.stdout, looked.stdout) == (b"True\n", b"-1\n")


async def test_forged_messages_reach_nobody(attack: Attack) -> None:
    code = (
        "import os\n"
        'said = b\'{"status":0,"cpu_s":0,"memory_bytes_peak":0,"over_memory":false}\\n\'\n'
        "for fd in range(3, 256):\n"
        "    try: os.write(fd, said); print(fd)\n"
        "    except OSError: pass\n"
        "raise SystemExit(9)\n"
    )
    result = await attack(code)
    assert (result.exit.exit_code, result.stdout) == (9, b"")
