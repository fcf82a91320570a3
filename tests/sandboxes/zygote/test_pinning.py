"""What a child of the zygote writes to is copied as it is forked (`guest/pinning.py`)."""

import subprocess
import sys
from pathlib import Path

import pytest

import sandboxes.guest

PAGES = 64
PATH = f"import sys; sys.path.insert(0, {str(Path(sandboxes.guest.__file__).parents[1])!r}); "
PROGRAM = f"""
import mmap, os, resource
from guest.pinning import pin_what_is_written

memory = mmap.mmap(-1, {PAGES} * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

def write():
    for at in range(0, len(memory), mmap.PAGESIZE):
        memory[at] = (memory[at] + 1) % 256

def faults_of(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

write()
pinned = pin_what_is_written(write)
heard, say = os.pipe()
if os.fork() == 0:
    faults_of(lambda: None)  # what counting itself writes to
    os.write(say, b"%d" % faults_of(write))
    os._exit(0)
os.wait()
write()
print(pinned, os.read(heard, 16).decode(), memory[0])
"""


def _run(before: str = "") -> tuple[int, int, int]:
    command = [sys.executable, "-I", "-c", f"{PATH}{before}{PROGRAM}"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    pinned, faults, first = map(int, done.stdout.split())
    return pinned, faults, first


def test_what_a_trial_wrote_to_costs_a_child_no_fault() -> None:
    """A page that a trial has written to is a child's own from its beginning."""
    pinned, faults, first = _run()
    assert first == 2, "the parent's pages are its own, whatever children write"
    if pinned == 0:
        pytest.skip("this host lets us have no io_uring, so nothing is pinned")
    assert pinned >= PAGES
    assert faults < PAGES / 4


def test_without_io_uring_all_is_as_before() -> None:
    """On a kernel that has none nothing is pinned, and children are made all the same."""
    pinned, faults, first = _run("import guest.pinning; guest.pinning._SYS_IO_URING_SETUP = 100_000")
    assert (pinned, first) == (0, 2)
    assert faults >= PAGES
