"""Passes this process's standard input on, as it comes, in a thread that nothing waits for."""

import os
import threading
from collections.abc import Callable

_CHUNK_BYTES = 64 * 1024


def pass_on_stdin(send: Callable[[bytes], bool]) -> None:
    """Call `send` in another thread with whatever arrives, and with nothing at its end.

    `send` says whether anybody still wants more.
    """
    threading.Thread(target=_read, args=(send,), name="stdin", daemon=True).start()


def _read(send: Callable[[bytes], bool]) -> None:
    wanted = True
    while wanted and (data := _next_bytes()):
        wanted = send(data)
    if wanted:
        send(b"")


def _next_bytes() -> bytes:
    """Wait for input, bypassing the buffer, whose lock would hang the end of this process."""
    try:
        return os.read(0, _CHUNK_BYTES)
    except OSError:  # closed, or a terminal that went away
        return b""
