"""A process is tied to its parent, whatever it does to its own credentials."""

import os
from collections.abc import Callable
from typing import Any

import pytest

SCRIPT = """
import ctypes, os, signal, sys
from infra.process.lifeline import die_with_parent, lifeline_kept
parent = os.getpid()
if os.fork() == 0:
    die_with_parent(parent)
    with lifeline_kept():
        ctypes.CDLL(None).setfsuid(61000)
        ctypes.CDLL(None).setfsuid(0)
    print("tied", flush=True)
    while True: signal.pause()
while True: signal.pause()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_tie_survives_a_change_of_the_file_system_user(start: Callable[[str], Any]) -> None:
    """The kernel drops it silently; sandboxes made by root change that user for every file."""
    running = start(SCRIPT)
    running.says("tied")
    children = running.descendants()
    running.process.kill()
    running.ended(children)
