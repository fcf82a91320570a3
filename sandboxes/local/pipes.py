"""The pipes of one command: three, and two more where it may call tools."""

import os
from dataclasses import dataclass

from sandboxes.protocol import SandboxFailed


@dataclass(frozen=True, slots=True)
class Ends:
    """Ours; whoever gets them closes them. `stdin` is -1 where nothing is read."""

    stdin: int
    stdout: int
    stderr: int
    answers: int = -1
    """Where answers to tool calls are written, and `calls` where calls are read; -1 without tools."""
    calls: int = -1


class Pipes:
    """Our ends, and those that process 1 gets. A command without `with_stdin` reads nothing at all."""

    def __init__(self, *, with_stdin: bool, with_tools: bool = False) -> None:
        self._open: list[int] = []
        stdin = answers = calls = -1
        channel: list[int] = []
        try:
            if with_stdin:
                their_stdin, stdin = self._pipe()
            else:
                their_stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
                self._open.append(their_stdin)
            stdout, their_stdout = self._pipe()
            stderr, their_stderr = self._pipe()
            if with_tools:
                their_answers, answers = self._pipe()
                calls, their_calls = self._pipe()
                channel = [their_answers, their_calls]
        except OSError as error:
            for fd in self._open:
                os.close(fd)
            raise SandboxFailed(f"No pipes can be made: {error.strerror}.") from error
        self.ours = Ends(stdin, stdout, stderr, answers, calls)
        self.theirs = [their_stdin, their_stdout, their_stderr, *channel]

    def hand_over(self) -> None:
        """Close the ends that are no longer ours."""
        for fd in self.theirs:
            os.close(fd)

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._open += ends
        return ends
