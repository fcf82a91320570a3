"""What surrounds a zygote: its outer bubblewrap, and what it is told to give its children."""

import base64
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandboxes.guest.keeper import INIT_PLACE
from sandboxes.guest_zip import guest_zip
from sandboxes.local.bubblewrap import (
    DATA_FOLDER,
    GUEST_ID,
    PROGRAM_FOLDER,
    all_else_read_only,
    empty_environment,
    files_of_etc,
    kernel_views,
    more_of_the_host,
    own_namespaces,
    tools_of_the_host,
)
from sandboxes.local.idle import idle_program
from sandboxes.local.launch import Inheritance
from sandboxes.local.zygote_code import BOOT, PLACE
from sandboxes.seccomp import filter_bytes

_INODES_MAX = 16_384
"""Of each writable folder."""
_SCRATCH_BYTES_MAX = 16 * 1024 * 1024
_BIND_NOW = {"LD_BIND_NOW": "1"}
"""Functions of libraries are looked up as the zygote starts, and not by each child as it calls them first."""
_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SETPCAP")
"""Inside its own user namespace only: to make namespaces and mounts for children, which lose them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZygoteConfig:
    """How zygotes are started on this host."""

    bwrap: str
    python: str
    """The guest's Python, 3.9 or later."""
    interpreter_options: Sequence[str] = ("-I", "-u", "-X", "utf8")
    """A command of exactly this Python and these options, a script after them, runs in the warm process."""
    uid: int | None = None
    """As root: the unprivileged user and group to become before any namespace is made."""
    host_paths: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """What programs will mostly find; one that is to find another environment starts a little later."""
    disk_bytes_max: int
    pids_max: int
    watch_memory: bool = False
    """There are no control groups: pid 1 of each child watches what all hold (`guest/watcher.py`)."""
    start_timeout_s: float = 20.0

    @property
    def command(self) -> tuple[str, ...]:
        """How the zygote's interpreter is started."""
        return (self.python, *self.interpreter_options)


def wall_arguments(config: ZygoteConfig, give: Callable[[bytes], int]) -> list[str]:
    """What all children see of the host; their own folders go on top of these empty ones."""
    places = (DATA_FOLDER, PROGRAM_FOLDER)
    settings = {**config.environment, **_BIND_NOW}.items()
    return [
        config.bwrap,
        *own_namespaces(network=False),
        *("--uid", str(GUEST_ID), "--gid", str(GUEST_ID), "--cap-drop", "ALL"),
        *(word for name in _CAPABILITIES for word in ("--cap-add", name)),
        *tools_of_the_host(),
        *files_of_etc(False, give),
        *more_of_the_host(config.host_paths),
        *("--perms", "0444", "--file", str(give(guest_zip())), PLACE),
        *_program_of_init(give),
        *kernel_views(proc=True),
        *(word for place in places for word in ("--dir", place)),
        *("--size", str(_SCRATCH_BYTES_MAX), "--tmpfs", "/tmp"),  # noqa: S108 - the sandbox's own
        *all_else_read_only(),
        *empty_environment(),
        *(word for name, value in settings for word in ("--setenv", name, value)),
        *("--new-session", "--die-with-parent", "--"),
    ]


def _program_of_init(give: Callable[[bytes], int]) -> list[str]:
    program = idle_program()
    return ["--perms", "0555", "--file", str(give(program)), INIT_PLACE] if program else []


def raise_wall(config: ZygoteConfig, inheritance: Inheritance, control: int) -> subprocess.Popen[bytes]:
    """Start the outer bubblewrap and the zygote in it. Raises `OSError`."""
    arguments = [
        *wall_arguments(config, inheritance.give),
        *(*config.command, "-c", BOOT, str(control)),
    ]
    return inheritance.start(arguments, config.uid)


def guest_config(config: ZygoteConfig, modules: Sequence[str]) -> dict[str, Any]:
    """Return the first message to a zygote."""
    modes = {
        DATA_FOLDER: "0755",
        PROGRAM_FOLDER: "0755",
        "/tmp": "1777",  # noqa: S108 - the sandbox's own
        "/dev/shm": "1777",  # noqa: S108
    }
    return {
        "folders": [(path, config.disk_bytes_max, _INODES_MAX, mode) for path, mode in modes.items()],
        "watched": list(modes) if config.watch_memory else [],
        "pids_max": config.pids_max,
        "environment": dict(config.environment),
        "seccomp": base64.b64encode(filter_bytes(network=True)).decode(),
        "modules": list(modules),
    }
