"""How Python is started ahead in a pod, and what is said to it: the other side of `sandboxes.guest.waiter`.

The others that wait are in `sandboxes.prestart`. This one takes an environment and a plan for its variables
with its order, so that no program but one with tools need start cold.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from sandboxes.languages import recipe_for

GUEST_ZIP = "/millrace/guest.zip"
"""Where a pod has the guest's package: see `sandboxes/sidecar/PROTOCOL.md`."""
MODULES = ("numpy", "pandas", "matplotlib.pyplot")
"""What is imported ahead, where the image has it."""

_BOOT = (
    f"import sys; sys.path.insert(0, {GUEST_ZIP!r}); from guest.waiter import main; del sys.path[0]; main()"
)


def waiting_python(modules: Sequence[str] = MODULES) -> tuple[str, ...]:
    """Return the command line; it stands where the recipe's would."""
    run = recipe_for("py").run
    return (*run[: run.index("{source}")], "-c", _BOOT, *modules)


def python_order(main: str, args: Sequence[str], env: Mapping[str, str], state: str = "") -> str:
    """Return what to say to it. `state` is a plan as the guest reads it, empty for none."""
    words = [
        ("main", main),
        *(("arg", word) for word in args),
        *(("env", f"{name}={value}") for name, value in env.items()),
        *([("state", state)] if state else []),
    ]
    return "".join(f"{kind} {quote(word, safe='', errors='surrogateescape')}\n" for kind, word in words)
