"""A runtime that has started before its program came and waits for it, in a cold sandbox of its own.

The sandbox is an ordinary one whose process 1 was told to start one command ahead; the file that makes the
command wait is in sandboxes/guest. Two fifos in the program folder lead to it: `.order`, one word a line,
percent-encoded, each after what it is for (`build`, `main`, `arg`), and `.word`, on which it says `ready`
and, after a build, `built`. It opens both before it says anything, for they are gone from the folder
before the program comes.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from sandboxes.languages import Steps
from sandboxes.local import files
from sandboxes.local.control import Ended
from sandboxes.local.futures import settle
from sandboxes.local.kernel import files_made_as, open_beneath
from sandboxes.local.launch import Guest
from sandboxes.local.pipes import Ends, Pipes
from sandboxes.prestart import ORDER_BYTES_MAX, order_text
from sandboxes.protocol import Program, SandboxFailed
from schemas.events import Stage

SCRIPTS = Path(__file__).parents[1] / "guest"
_ORDER, _WORD = ".order", ".word"
_WELL = Ended(status=0, cpu_s=0.0, memory_bytes_peak=0, over_memory=False)


class Prestarted:
    """One waiting runtime. It takes one program, or leaves the sandbox as if it had never been."""

    def __init__(self, guest: Guest, uid: int) -> None:
        self.guest = guest
        self.uid = uid
        """The user who owns its files, as the host counts."""
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Ended] = self._loop.create_future()
        self._built: asyncio.Future[Ended] = self._loop.create_future()
        self._order_fd, self._word_fd = self._make_fifos()
        self._text = b""
        self._ends: Ends | None = None
        self._ended: asyncio.Future[Ended] = self._loop.create_future()

    async def start(self, start: dict[str, object], script: str, file_name: str, timeout_s: float) -> None:
        """Have the runtime started by an order for process 1, and wait until it is ready.

        The source file is there, empty, from the beginning: runtimes open it at their start.
        Raises `SandboxFailed`.
        """
        if script:
            self._put(f".{script}", (SCRIPTS / script).read_bytes())
        self._put(file_name, b"")
        self._loop.add_reader(self._word_fd, self._hear)
        pipes = Pipes(with_stdin=True)
        self._ends = pipes.ours
        try:
            self._ended = await self.guest.control.start(start, pipes.theirs)
        finally:
            pipes.hand_over()
        self._ended.add_done_callback(self._hear_end)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._ready
                return
        raise SandboxFailed("The runtime did not get ready in time.")

    @property
    def is_alive(self) -> bool:
        """Whether it still waits."""
        return not self._ended.done()

    async def accept(self, steps: Steps, program: Program) -> bool:
        """Say whether it runs this program; if not, it is gone and the sandbox is free for commands.

        Runtimes read the environment at their start, so a program that brings variables needs another.
        """
        self._text = order_text(steps, program.args)
        self._remove_fifos()
        if not program.env and len(self._text) <= ORDER_BYTES_MAX and self.is_alive:
            return True
        self.guest.control.kill()
        await asyncio.wait([self._ended])
        self.close()
        return False

    def begin(self, stage: Stage) -> tuple[Ends, asyncio.Future[Ended]]:
        """Let it go on to a stage; returns our ends of its pipes, and the end of the stage."""
        assert self._ends
        self._feed()
        if stage == "build":  # the same pipes serve the run
            return Ends(-1, os.dup(self._ends.stdout), os.dup(self._ends.stderr)), self._built
        ends, self._ends = self._ends, None
        return ends, self._ended

    def close(self) -> None:
        """Let go of all descriptors that nobody has taken over. Safe to call twice."""
        if self._word_fd >= 0:
            self._loop.remove_reader(self._word_fd)
        ends = (self._ends.stdin, self._ends.stdout, self._ends.stderr) if self._ends else ()
        for fd in (self._order_fd, self._word_fd, *ends):
            if fd >= 0:
                os.close(fd)
        self._order_fd = self._word_fd = -1
        self._ends = None

    def _put(self, name: str, content: bytes) -> None:
        files.put_bytes(self.guest.program_fd, name, content, self.uid)

    def _make_fifos(self) -> tuple[int, int]:
        """Make both and hold each open for reading and writing, so that no side waits for the other."""
        folder = self.guest.program_fd
        with files_made_as(self.uid):
            for name in (_ORDER, _WORD):
                os.mkfifo(name, 0o600, dir_fd=folder)
            flags = os.O_RDWR | os.O_NONBLOCK
            return open_beneath(folder, _ORDER, flags), open_beneath(folder, _WORD, flags)

    def _remove_fifos(self) -> None:
        with files_made_as(self.uid):
            for name in (_ORDER, _WORD):
                os.unlink(name, dir_fd=self.guest.program_fd)

    def _feed(self) -> None:
        """Write the order, once; that we close the fifo is its end."""
        if self._order_fd >= 0:
            os.write(self._order_fd, self._text)
            os.close(self._order_fd)
            self._order_fd = -1

    def _hear(self) -> None:
        try:
            said = os.read(self._word_fd, 64) if self._word_fd >= 0 else b""
        except BlockingIOError:
            return
        for word, future in ((b"ready", self._ready), (b"built", self._built)):
            if word in said and not future.done():
                future.set_result(_WELL)

    def _hear_end(self, ended: "asyncio.Future[Ended]") -> None:
        self._hear()  # what it said last may be there unread
        error = ended.exception()
        settle(self._ready, error or SandboxFailed("The runtime ended before it was ready."))
        settle(self._built, error or ended.result())
