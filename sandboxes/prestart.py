"""How a runtime is started before its program comes: one table of command lines.

Each runtime has a hook that runs a file of ours first: node a module to require, PHP a file to prepend, R
a user profile. That file (sandboxes/guest/waiter.*) waits for an order; then the runtime goes on to the main
file of its command line, as it would have without. Java has no such hook; its waiter is a main class, kept
in the warm cache, and runs the program's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

from sandboxes.languages import Recipe, Steps
from sandboxes.toolchain import Prestart, Toolchain

GUEST = Path(__file__).with_name("guest")
JAVA_WAITER = GUEST / "Waiter.java"
ORDER_BYTES_MAX = 60_000
"""Less than a fifo holds, so that writing never waits."""
JAVA_WAITER_CLASS = "millrace.guest.Waiter"


def with_prestart(toolchain: Toolchain) -> Toolchain:
    """Return `toolchain` with what starts it ahead, where there is such a thing."""
    ahead = prestart_of(toolchain.recipe)
    return replace(toolchain, prestart=ahead) if ahead else toolchain


def prestart_of(recipe: Recipe) -> Prestart | None:
    """Return how the runtime that `recipe` runs is started ahead; None if it cannot be."""
    how = _HOW.get(recipe.code)
    return how(recipe.run) if how else None


def java_prestart(run: Sequence[str], cache: str) -> Prestart:
    """Return how Java is started ahead: `run` is its usual command, `cache` the folder of its warm cache."""
    # the archive that javac uses; silent, for a machine that finds it unfit goes on without
    flags = (f"-XX:SharedArchiveFile={cache}/javac.jsa", "-Xlog:disable")
    path = f"{cache}/waiter.jar:{{program}}"
    return Prestart((*run[: run.index("-cp")], *flags, "-cp", path, JAVA_WAITER_CLASS, "{program}"))


def _node(run: Sequence[str]) -> Prestart:
    node, *rest = run
    return Prestart((node, "--require", "{program}/.waiter.js", *rest), "waiter.js")


def _php(run: Sequence[str]) -> Prestart:
    php, *rest = run
    ahead = (php, "-d", "auto_prepend_file={program}/.waiter.php", *rest)
    # or, after the last output, it unmaps every extension, only to end
    return Prestart(ahead, "waiter.php", {"ZEND_DONT_UNLOAD_MODULES": "1"})


_VANILLA = ("--no-save", "--no-environ", "--no-site-file", "--no-restore")
"""`--vanilla` but for the user's profile, which is ours."""


def _r(run: Sequence[str]) -> Prestart:
    command: list[str] = []
    for word in run:
        command += _VANILLA if word == "--vanilla" else [word]
    return Prestart(tuple(command), "waiter.R", {"R_PROFILE_USER": "{program}/.waiter.R"})


_HOW: Mapping[str, Callable[[Sequence[str]], Prestart]] = {"js": _node, "ts": _node, "php": _php, "r": _r}


def order_text(steps: Steps, args: Sequence[str]) -> bytes:
    """Return the order for a program with these steps and arguments."""
    (build,) = steps.build or ((),)
    main = steps.run[-len(args) - 1]
    words = [*(("build", word) for word in build), ("main", main), *(("arg", word) for word in args)]
    encode = partial(quote, safe="", errors="surrogatepass")
    return "".join(f"{kind} {encode(word)}\n" for kind, word in words).encode()
