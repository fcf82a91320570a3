"""A Python that has started ahead of its one program: imports are done, and it waits for an order.

What the zygote's children are on one machine this is in a pod, where nothing is shared and nobody forks. As
with the other runtimes that wait, the order is read from the fifo .order in the program folder, one word a
line, percent-encoded, each after what it is for: `main`, `arg`, `env` (NAME=VALUE) or `state` (a plan). The
fifo .word tells the agent `ready`. Then the program runs in this very process.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote

from . import isolation, script, state, warmth


class Order(NamedTuple):
    """What to run."""

    main: str
    args: list[str]
    env: list[str]
    state: str


def main() -> None:
    """Warm up with the modules that the command line names, wait, run. Does not return."""
    with open(f"{isolation.PROGRAM_FOLDER}/.order", "rb") as fifo:  # both names are gone once we say a word
        word = os.open(f"{isolation.PROGRAM_FOLDER}/.word", os.O_WRONLY | os.O_CLOEXEC)
        _warm_up(sys.argv[1:])
        os.write(word, b"ready\n")
        os.close(word)
        order = _read(fifo)
    _run(order)


def _warm_up(modules: list[str]) -> None:
    warmth.preload(modules)
    warmth.touch()
    state.warm_up()
    gc.collect()
    gc.freeze()  # the program's collections need not look at all this


def _read(fifo: BinaryIO) -> Order:
    words: dict[str, list[str]] = {"main": [], "arg": [], "env": [], "state": []}
    for line in fifo:
        kind, _, value = line.decode("ascii").rstrip("\n").partition(" ")
        words[kind].append(unquote(value, errors="surrogateescape"))
    if not words["main"]:
        os._exit(0)  # the order's end without an order: we are not wanted
    return Order(words["main"][0], words["arg"], words["env"], "".join(words["state"]))


def _run(order: Order) -> None:
    for pair in order.env:
        name, _, value = pair.partition("=")
        os.environ[name] = value
    sys.path.insert(0, isolation.WORKING_DIRECTORY)
    keeper = state.Keeper(state.Plan.parse(order.state)) if order.state else None
    _hide_ourselves()
    script.run(order.main, order.args, keeper)


def _hide_ourselves() -> None:
    package = __name__.rpartition(".")[0]
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]
