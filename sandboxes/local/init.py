"""Process 1 inside a sandbox: starts the commands the service names, one after the other.

Runs in the guest, under the guest's Python, so it imports nothing of ours, keeps to what Python 3.9 has,
and imports little: its start is part of every cold execution. It trusts the service and nothing else;
the service in turn believes it nothing that could harm anybody but this one execution.

Control socket: the service sends orders, each a length (four bytes, big-endian) and a marshalled dict:
`start`, with descriptors beside it and the places where they belong, `limit` (what runs), or `kill`. We say
hello with two directory descriptors (working directory, program folder), then for every `start` one ending
and for every `limit` one answer, lines of JSON. Nothing outlives the command: what it left behind is killed
before its ending is told. When the service is gone the socket closes, we end, and the kernel kills all that
is left in this pid namespace.
"""

# json, ctypes, signal, typing and pathlib each take longer to import than all of this takes to run
# ruff: noqa: PTH123, SIM105, S108, S302, S606

import _socket
import marshal
import os
import resource
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, NoReturn

    # its text stands before ours when we are compiled (`launch.compile_init`)
    from sandboxes.guest.memory_watch import LOOK_MS, MemoryWatch, kill_all, processes
else:
    import _signal as signal

try:
    import _ctypes

    PRCTL = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
except ImportError:  # a minimal Python; the system-call filter and Yama are left
    PRCTL = 0

PR_SET_DUMPABLE = 4


def main(control_fd: int, data_folder: str, program_folder: str) -> None:
    """Serve the control socket until the service goes away."""
    control = _socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    os.umask(0o022)
    say_hello(control, [data_folder, program_folder])
    hide_memory(True)
    places = [data_folder, program_folder, "/tmp", "/dev/shm"]
    Init(control, MemoryWatch(lambda: [os.statvfs(place) for place in places])).serve()


def say_hello(control: _socket.socket, folders: list[str]) -> None:
    """Hand over the folders; the kernel adds our process id as the service sees it."""
    opened = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for folder in folders]
    packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in opened)
    control.sendmsg([b"\n"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])
    for fd in opened:
        os.close(fd)


def hide_memory(hidden: bool) -> None:
    """Keep commands, which share our user id, from reading or writing our memory through /proc."""
    if PRCTL:
        _ctypes.call_function(PRCTL, (PR_SET_DUMPABLE, 0 if hidden else 1, 0, 0, 0))


class Init:
    """One command at a time, its death and that of all its descendants."""

    def __init__(self, control: _socket.socket, memory: "MemoryWatch") -> None:
        self.control = control
        self.memory = memory
        self.received = b""
        self.fds: list[int] = []
        self.main = 0
        self.wake, wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    def serve(self) -> "NoReturn":
        """Wait for what comes: an order, a death, or the time to look at memory."""
        poll = select.poll()
        poll.register(self.control.fileno(), select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while True:
            watching = self.main and self.memory.bytes_max
            for fd, _ in poll.poll(LOOK_MS if watching else None):
                if fd == self.wake:
                    self.reap()
                else:
                    self.receive()
            if watching:
                self.memory.look()

    def receive(self) -> None:
        """Take orders off the socket; its end is ours."""
        data, ancillary, _, _ = self.control.recvmsg(65536, 1024, _socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        for level, kind, packed in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
                self.fds += [int.from_bytes(word, sys.byteorder) for word in words]
        self.received += data
        while len(self.received) >= 4:
            end = 4 + int.from_bytes(self.received[:4], "big")
            if len(self.received) < end:
                return
            self.obey(marshal.loads(self.received[4:end]))
            self.received = self.received[end:]

    def obey(self, order: "dict[str, Any]") -> None:
        """Do one order."""
        if order["do"] == "kill":
            kill_all()
            return
        self.memory.bytes_max = order["memory_watch_bytes"]
        if order["do"] == "limit":
            self.limit(order["rlimits"])
            return
        stdio, self.fds = self.fds[: len(order["places"])], self.fds[len(order["places"]) :]
        try:
            self.main = start(order, stdio)
        except OSError as error:
            self.say(f'{{"failed": "the command: {os.strerror(error.errno or 0)}"}}')
        for fd in stdio:
            os.close(fd)

    def limit(self, rlimits: "dict[str, int]") -> None:
        """Put all that runs under other limits; answer with what CPU time it has used, or null."""
        ticks = 0
        try:
            for pid in processes():
                for name, value in rlimits.items():
                    limit_to(getattr(resource, "RLIMIT_" + name), value, int(pid))
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        except OSError:
            self.say('{"limited": null}')
            return
        self.say(f'{{"limited": {ticks / os.sysconf("SC_CLK_TCK")}}}')

    def reap(self) -> None:
        """Bury the dead; if the command is among them, end all it left and report."""
        try:
            os.read(self.wake, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status, _ = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self.main:
                self.main = 0
                bury_all()
                self.report(status)
                return

    def report(self, status: int) -> None:
        """Say how the command ended and what all its processes used since the sandbox stands."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = used.ru_utime + used.ru_stime
        peak = max(self.memory.peak, used.ru_maxrss * 1024)
        over = "true" if self.memory.is_over else "false"
        figures = f'"cpu_s": {cpu_s:.6f}, "memory_bytes_peak": {peak}, "over_memory": {over}'
        self.say(f'{{"status": {status}, {figures}}}')

    def say(self, message: str) -> None:
        """Write one message."""
        self.control.sendall(message.encode() + b"\n")


def start(order: "dict[str, Any]", stdio: list[int]) -> int:
    """Start one command with its limits; return its process id. Raises OSError if it cannot be run."""
    said, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(order, stdio)
        except OSError as error:
            os.write(say, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(say)
    with os.fdopen(said, "rb") as pipe:
        fault = pipe.read()
    if fault:
        os.waitpid(pid, 0)
        raise OSError(int(fault), os.strerror(int(fault)))
    return pid


def become(order: "dict[str, Any]", stdio: list[int]) -> "NoReturn":
    """In the new process: turn into the command."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    for target, fd in zip(order["places"], stdio):  # noqa: B905  3.9
        os.dup2(fd, target)
    prefer_as_victim()
    for name, value in order["rlimits"].items():
        limit_to(getattr(resource, "RLIMIT_" + name), value)
    os.chdir(order["cwd"])
    os.execvpe(order["argv"][0], order["argv"], order["env"])


def limit_to(kind: int, value: int, pid: int = 0) -> None:
    """Set a resource limit (ours by default) for good, or leave the host's where that is lower."""
    _, hard = resource.prlimit(pid, kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.prlimit(pid, kind, (value, value))


def prefer_as_victim() -> None:
    """Out of memory, the kernel shall take commands before us, who must tell the service."""
    hide_memory(False)  # /proc/self belongs to root while we are hidden
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass


def bury_all() -> None:
    """Kill and reap until nothing is left, however fast they fork."""
    while True:
        kill_all()
        try:
            pid, _, _ = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            select.select([], [], [], 0.001)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
