"""Tools as functions of a shell program: a small broker between the shells that call and the service.

Calls come from subshells and background jobs, any number at once, so none of them may hold the descriptors.
Each is a short process of `call.py`: it leaves its line in a file, names itself on a fifo, and waits on a
fifo of its own until its answer is in another file. The broker starts the shell and ends as it ends.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from typing import NoReturn, Sequence  # noqa: UP035  3.9

from .call import ANSWER, ASKING, BELL, BELLS
from .tools import Plan

_CHUNK_BYTES = 1 << 16


def main() -> NoReturn:
    """Run the command line that comes after the plan: a shell, its script, arguments."""
    _, words, *command = sys.argv
    plan = Plan.parse(words)
    plan.keep_to_ourselves()
    folder = Path(plan.path).parent
    os.mkfifo(folder / BELLS, 0o600)
    functions = folder / "functions.sh"
    functions.write_text(_functions(plan, folder), "utf-8")
    _Broker(plan, folder).run(_with_functions(command, functions))


def _functions(plan: Plan, folder: Path) -> str:
    client = [sys.executable, "-I", "-S", "-X", "utf8", str(folder / "call.py"), str(folder)]
    return "".join(
        f'{tool["identifier"]}() {{ {" ".join(map(_quoted, [*client, tool["name"]]))} "$@"; }}\n'
        for tool in plan.described()
    )


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _with_functions(command: Sequence[str], functions: Path) -> list[str]:
    shell, script, *args = command
    return [shell, "-c", f'. {_quoted(str(functions))}; . "$0"', script, *args]


class _Broker:
    """Hands calls out and answers in until the shell ends."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._bells = os.open(folder / BELLS, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rung = b""
        self._received = bytearray()

    def run(self, command: Sequence[str]) -> NoReturn:
        """Start the shell, and end as it does."""
        wake, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        ignored = {
            signal.SIGPIPE,
            signal.SIGXFSZ,
            signal.SIGCHLD,
        }  # Python ignores them, programs expect them
        pid = os.posix_spawnp(command[0], list(command), os.environ, setsigdef=ignored)
        poller = select.poll()
        for fd in (self._bells, self._plan.answers_fd, wake):
            poller.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self._bells in ready:
                self._ask()
            if self._plan.answers_fd in ready and not self._answer():
                poller.unregister(self._plan.answers_fd)
            if wake in ready:
                os.read(wake, _CHUNK_BYTES)
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    _end_as(status)

    def _ask(self) -> None:
        """Hand out the calls of those who named themselves."""
        *keys, self._rung = (self._rung + os.read(self._bells, _CHUNK_BYTES)).split(b"\n")
        lines = b"".join(self._line(key.decode("ascii", "replace")) for key in keys)
        while lines:
            lines = lines[os.write(self._plan.calls_fd, lines) :]

    def _line(self, key: str) -> bytes:
        """Return a call's line; nothing if a program of the user's rang, or the caller is gone."""
        try:
            line = (self._folder / (str(int(key)) + ASKING)).read_bytes()
        except (OSError, ValueError):
            return b""
        return line if line.endswith(b"\n") and line.count(b"\n") == 1 else b""

    def _answer(self) -> bool:
        """Hand in answers; say whether more may come."""
        chunk = os.read(self._plan.answers_fd, _CHUNK_BYTES)
        self._received += chunk
        while (end := self._received.find(b"\n")) >= 0:
            self._hand_in(bytes(self._received[:end]))
            del self._received[: end + 1]
        return bool(chunk)

    def _hand_in(self, line: bytes) -> None:
        import json

        place = str(self._folder / str(json.loads(line)["key"]))
        try:
            bell = os.open(place + BELL, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # nobody waits for it any more
        try:
            Path(place + ANSWER).write_bytes(line)
            os.write(bell, b"\n")
        except OSError:
            os.write(bell, b"!")  # there is no room for the answer
        finally:
            os.close(bell)


def _end_as(status: int) -> NoReturn:
    """End with the exit status, or by the signal, that the shell ended with."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))
