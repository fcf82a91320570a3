"""The outer wall: one bubblewrap command line, as a list of steps.

bubblewrap does what only it should do: make the namespaces, build the file tree, drop every capability,
forbid new privileges and load the system-call filter, in the right order. What it cannot do (limits of
single processes, reaping) is done inside by `init.py`, what needs the host (cgroups) by the service.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

DATA_FOLDER = "/mnt/data"
"""Working directory: input files, produced files."""
PROGRAM_FOLDER = "/program"
"""The source and what is built from it."""
GUEST_ID = 1000
"""User and group id as seen inside."""

ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "fonts")
"""Of /etc what every sandbox may read."""
_ETC_NETWORK = ("resolv.conf", "nsswitch.conf", "ssl", "pki", "ca-certificates", "services", "protocols")

_FILES = {
    "/etc/passwd": f"sandbox:x:{GUEST_ID}:{GUEST_ID}::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "/etc/group": f"sandbox:x:{GUEST_ID}:\nnogroup:x:65534:\n",
    "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """One sandbox's outer shape."""

    disk_bytes_max: int
    network: bool = False
    proc: bool = True
    """Mount a /proc of its own; a host that masks its /proc refuses that."""
    host_paths: Sequence[str] = ()
    filter_fd: int
    """The system-call filter, to be read to its end."""


def wall_arguments(bwrap: str, wall: Wall, give: Callable[[bytes], int]) -> list[str]:
    """Return the command line up to the command. `give` makes a descriptor that yields some bytes."""
    return [
        bwrap,
        *own_namespaces(wall.network),
        *nobody_special(),
        *tools_of_the_host(),
        *files_of_etc(wall.network, give),
        *kernel_views(wall.proc),
        *writable_places(wall.disk_bytes_max),
        *more_of_the_host(wall.host_paths),  # some may lie below /tmp
        *all_else_read_only(),
        *empty_environment(),
        *no_way_back(wall.filter_fd),
        "--",
    ]


def own_namespaces(network: bool) -> list[str]:
    """User, pid, ipc, uts, cgroup, mount and, unless it may reach out, network."""
    return ["--unshare-all", "--unshare-user", *(["--share-net"] if network else []), "--hostname", "sandbox"]


def nobody_special() -> list[str]:
    """Run as an ordinary user inside, without capabilities and without more user namespaces."""
    return ["--uid", str(GUEST_ID), "--gid", str(GUEST_ID), "--cap-drop", "ALL"]


def tools_of_the_host() -> list[str]:
    """Show /usr, and beside it what this host keeps in or beside it."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        place = Path(name)
        if place.is_symlink():
            arguments += ["--symlink", str(place.readlink()), name]
        elif place.is_dir():
            arguments += ["--ro-bind", name, name]
    return arguments


def files_of_etc(network: bool, give: Callable[[bytes], int]) -> list[str]:
    """Of /etc only what names no person, machine or secret; accounts are made up."""
    shown = ETC + (_ETC_NETWORK if network else ())
    arguments = [word for name in shown for word in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")]
    for path, text in _FILES.items():
        arguments += ["--perms", "0444", "--file", str(give(text.encode())), path]
    return arguments


def more_of_the_host(paths: Sequence[str]) -> list[str]:
    """Show what languages keep outside /usr."""
    return [word for path in paths for word in ("--ro-bind-try", path, path)]


def kernel_views(proc: bool) -> list[str]:
    """A /proc of this pid namespace, a /dev with nothing but the harmless."""
    return [*(["--proc", "/proc"] if proc else ["--dir", "/proc"]), "--dev", "/dev"]


def writable_places(size: int) -> list[str]:
    """Folders in memory, each with a size, gone with the sandbox."""
    places = (DATA_FOLDER, PROGRAM_FOLDER, "/tmp", "/dev/shm")  # noqa: S108 - the sandbox's own /tmp
    return [word for place in places for word in ("--size", str(size), "--tmpfs", place)]


def all_else_read_only() -> list[str]:
    """The root and /dev are tmpfs too, without a size: nothing may be written there."""
    return ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", DATA_FOLDER]


def empty_environment() -> list[str]:
    """Nothing of the service's environment comes in."""
    return ["--clearenv"]


def no_way_back(filter_fd: int) -> list[str]:
    """No terminal to type into, no life after the service, no dangerous system call."""
    return ["--new-session", "--die-with-parent", "--as-pid-1", "--seccomp", str(filter_fd)]
