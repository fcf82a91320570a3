"""Starting one sandbox: bubblewrap outside, process 1 inside, and their certain end."""

import asyncio
import fcntl
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from sandboxes.guest import memory_watch
from sandboxes.local.bubblewrap import DATA_FOLDER, PROGRAM_FOLDER, Wall, wall_arguments
from sandboxes.local.control import Control, Hello, control_pair
from sandboxes.protocol import SandboxFailed, SandboxUnavailable
from sandboxes.seccomp import filter_bytes

_COMPLAINT_BYTES_MAX = 2000
_OOM_SCORE_MIN = 100
_PIPE_BYTES = 64 * 1024
"""What a pipe holds as it is made."""
INIT = "init.py"
BOOT = "import marshal, os; exec(marshal.loads(os.fdopen({fd}, 'rb').read()))"

_COMPILE = (
    "import marshal, sys; "
    "code = compile(sys.stdin.buffer.read(), 'init', 'exec'); "
    "sys.stdout.buffer.write(marshal.dumps(code))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """How sandboxes are started on this host."""

    bwrap: str
    python: str
    """The guest's Python, for process 1."""
    init: bytes
    """`init.py`, compiled by that Python."""
    proc: bool
    disk_bytes_max: int
    host_paths: Sequence[str]
    """What process 1 needs outside /usr."""
    start_timeout_s: float

    async def launch(self, *, uid: int | None, network: bool, host_paths: Sequence[str] = ()) -> "Guest":
        """Start a sandbox in which process 1 waits for orders.

        `uid`: become this user first. It must happen before any user namespace exists: root of the host,
        even stripped of all capabilities inside one, still owns files such as /proc/sys/kernel/core_pattern.

        Raises:
            SandboxUnavailable: the host is out of processes, descriptors or memory.
            SandboxFailed: it does not come to stand.
        """
        ours, theirs = control_pair()
        try:
            with theirs, Inheritance() as inheritance:
                inheritance.keep(theirs.fileno())
                wall = self._wall(inheritance, network, host_paths)
                process = self._spawn(inheritance, theirs.fileno(), uid, wall)
        except OSError as error:
            ours.close()
            raise SandboxUnavailable(f"No sandbox can be started now: {error.strerror}.") from error
        return await Guest.greeted(Outer(process), Control(ours), self.start_timeout_s)

    def _wall(self, inheritance: "Inheritance", network: bool, host_paths: Sequence[str]) -> Wall:
        return Wall(
            disk_bytes_max=self.disk_bytes_max,
            network=network,
            proc=self.proc,
            host_paths=tuple(dict.fromkeys([*self.host_paths, *host_paths])),
            # sockets are safe to allow: without `network` they reach the sandbox's own loopback only
            filter_fd=inheritance.give(filter_bytes(network=True)),
        )

    def _spawn(
        self, inheritance: "Inheritance", control: int, uid: int | None, wall: Wall
    ) -> subprocess.Popen[bytes]:
        boot = BOOT.format(fd=inheritance.give(self.init))
        arguments = wall_arguments(self.bwrap, wall, inheritance.give)
        arguments += [self.python, "-I", "-S", "-X", "utf8", "-c", boot]
        arguments += [str(control), DATA_FOLDER, PROGRAM_FOLDER]
        return inheritance.start(arguments, uid)


class Inheritance:
    """Descriptors that a new process shall have, closed here once it has them."""

    def __init__(self) -> None:
        self.fds: list[int] = []
        self._open = ExitStack()

    def __enter__(self) -> "Inheritance":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def keep(self, fd: int) -> None:
        """Hand on a descriptor that somebody else closes."""
        self.fds.append(fd)

    def give(self, data: bytes) -> int:
        """Return a descriptor from which `data`, at most 1 MiB, can be read. Raises OSError."""
        read_end, write_end = os.pipe()
        self._open.callback(os.close, read_end)
        self.fds.append(read_end)
        if len(data) > _PIPE_BYTES:  # all of it must fit, for nobody reads yet
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, len(data))
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(data)
        return read_end

    def start(
        self, arguments: Sequence[str], uid: int | None = None, *, start_new_session: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a process, as user `uid` if one is given, that gets these and nothing else of ours.

        To be called on the loop's own thread: --die-with-parent means the thread that started it.
        Raises OSError.
        """
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            pass_fds=self.fds,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            start_new_session=start_new_session,
        )


class Outer:
    """The bubblewrap process; it ends after process 1, which ends after all others."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        # before anybody polls the process: a dead one that was reaped has no descriptor to be had
        self._pidfd = os.pidfd_open(process.pid)

    def kill(self) -> None:
        """Kill it; the kernel then kills process 1, which we might not know yet."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def end(self) -> str:
        """Wait for its death and return its last words."""
        await self._death()
        self._process.wait()
        os.close(self._pidfd)
        assert self._process.stderr
        os.set_blocking(self._process.stderr.fileno(), False)
        with self._process.stderr as stderr:
            return (stderr.read() or b"")[:_COMPLAINT_BYTES_MAX].decode(errors="replace").strip()

    async def _death(self) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)


class Guest:
    """A sandbox that stands: its processes, its folders, its end."""

    def __init__(self, outer: Outer, control: Control, hello: Hello, pidfd: int) -> None:
        self.control = control
        self.pid = hello.pid
        """Of process 1, as the host counts."""
        self.data_fd = hello.data_fd
        self.program_fd = hello.program_fd
        self.uid: int | None = None
        """The user it runs as, where that need not be the one asked for."""
        self._outer = outer
        self._pidfd = pidfd

    @classmethod
    async def greeted(cls, outer: Outer, control: Control, timeout_s: float) -> "Guest":
        """Wait until process 1 says hello. Raises `SandboxFailed`, and leaves nothing behind then."""
        hello = None
        try:
            with suppress(TimeoutError):
                hello = await asyncio.wait_for(control.hello(), timeout_s)
            pidfd = os.pidfd_open(hello.pid) if hello else -1
        except BaseException:
            control.close()
            outer.kill()
            await outer.end()
            raise
        if hello is None:
            control.close()
            outer.kill()
            complaint = await outer.end() or "it said nothing."
            raise SandboxFailed(f"The sandbox does not come to stand: {complaint}")
        _bound_oom_score(hello.pid)
        return cls(outer, control, hello, pidfd)

    def kill(self) -> bool:
        """Kill process 1, and with it all others, at once, until it is closed; say whether any was left."""
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    async def close(self) -> None:
        """End it and wait until the last of its processes is gone; then let go of its files."""
        self.kill()
        self.control.close()
        await self._outer.end()
        for fd in (self.data_fd, self.program_fd, self._pidfd):
            os.close(fd)


def _bound_oom_score(pid: int) -> None:
    """Take from a sandbox what an unkillable service would hand down: not to be killed for memory.

    What root writes here is the least that the process and its children may set themselves (proc(5)).
    """
    if os.geteuid() == 0:
        with suppress(OSError):
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(_OOM_SCORE_MIN))


def compile_init(python: str, name: str = INIT) -> bytes:
    """Return `init.py` or a neighbour, compiled by the guest's Python, whose bytecode may differ.

    The watch on memory is a part of `init.py` that warm children have too, so it has a file of its own.
    """
    own = Path(__file__).with_name(name).read_bytes()
    source = Path(memory_watch.__file__).read_bytes() + own if name == INIT else own
    compiling = [python, "-I", "-S", "-c", _COMPILE]
    return subprocess.run(compiling, input=source, capture_output=True, check=True).stdout
