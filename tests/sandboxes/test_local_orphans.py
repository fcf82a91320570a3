"""A bubblewrap that was left behind while it started is ended by the next service, and nothing else is."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from sandboxes.local.orphans import end_orphans

SLEEP = "import time; time.sleep(600)"
LEAVE_BEHIND = """
import os, time
if os.fork():
    os._exit(0)
os.write({writer}, b"%d\\n" % os.getpid())
os.close({writer})
time.sleep(600)
"""


def left_behind(*words: str) -> psutil.Process:
    """Return a process whose parent has died and whose command line says `words`."""
    reader, writer = os.pipe()
    command = [words[0], "-c", LEAVE_BEHIND.format(writer=writer), *words[1:]]
    subprocess.run(command, executable=sys.executable, pass_fds=[writer], check=True, timeout=30)
    os.close(writer)
    with os.fdopen(reader) as told:
        return psutil.Process(int(told.readline()))


def is_over(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_only_an_orphan_of_ours_is_ended() -> None:
    """Told by its command line and its parent."""
    orphan = left_behind("/usr/bin/bwrap", "--die-with-parent", "/mnt/data")
    stranger = left_behind("/usr/bin/bwrap", "--die-with-parent", "/home")
    cared_for = subprocess.Popen(
        ["bwrap", "-c", SLEEP, "--die-with-parent", "/mnt/data"], executable=sys.executable
    )
    try:
        if orphan.ppid() != 1:
            pytest.skip("orphans go to another process than 1 here")
        assert end_orphans() >= 1
        until = time.monotonic() + 10
        while not is_over(orphan) and time.monotonic() < until:
            time.sleep(0.01)
        assert is_over(orphan)
        assert cared_for.poll() is None
        assert not is_over(stranger)
    finally:
        for process in (orphan, stranger):
            if process.is_running():
                process.kill()
        cared_for.kill()
        cared_for.wait()
