"""What of a cluster is on the machine: what is to be taken away, and whether all of it is gone."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from infra.cluster.home import BRIDGE, CGROUP, NETWORK, Home

LOG_LINKS = Path("/var/log/containers")
"""The kubelet links the logs of containers there, whatever it is told."""
_NETWORK_RESULTS = Path("/var/lib/cni/results")
_SHIM_SOCKETS = Path("/run/containerd/s")
_LIST_TABLES = ("nft", "list", "tables")
_PROGRAMS = {"kube", "containerd", "containerd-shim-runc-v2"}
_TABLES = {f"table {family} kube-proxy" for family in ("ip", "ip6")}


def leftovers(home: Home) -> list[str]:
    """Return what is left, each in a few words; empty if all is gone."""
    folders = [home.folder, *cgroups(), *network_results(), *log_links(home), Path("/sys/class/net", BRIDGE)]
    return [
        *(f"process {pid}: {' '.join(_words(pid))[:100]}" for pid in processes(home)),
        *(f"mount {point}" for point in mounts(home)),
        *(str(folder) for folder in folders if folder.exists() or folder.is_symlink()),
        *tables(),
    ]


def processes(home: Home) -> list[int]:
    """Return the programs of the cluster, the shims of its containers, and whoever is in its pods."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if is_part(int(entry.name), home)]


def is_part(pid: int, home: Home) -> bool:
    """Whether a process is of the cluster: it is in one of its pods, or has been told where its home is."""
    words = _words(pid)
    # Without words it has ended, and whoever adopted it has not looked yet.
    if pid == os.getpid() or not any(words):
        return False
    with suppress(OSError):
        if f":/{CGROUP}" in Path(f"/proc/{pid}/cgroup").read_text():
            return True
    if "infra.cluster.names" in words:
        return True
    return Path(words[0]).name in _PROGRAMS and any(f"{home.folder}/" in word for word in words[1:])


def cgroups() -> list[Path]:
    """Return our control group in each hierarchy: one in version 2; one for each controller in version 1."""
    return [hierarchy / CGROUP for hierarchy in hierarchies()]


def hierarchies() -> list[Path]:
    """Return where control groups are mounted."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]


def mounts(home: Home) -> list[str]:
    """Return where something is mounted for the cluster, the innermost first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    of_pods = {str(path.resolve()) for path in network_namespaces()}
    return sorted(
        (each for each in points if each.startswith(f"{home.folder}/") or each in of_pods), reverse=True
    )


def network_namespaces() -> set[Path]:
    """Return those of pods whose network was not taken down."""
    return {
        Path(interface["sandbox"])
        for file in _NETWORK_RESULTS.glob(f"{NETWORK}-*")
        for interface in json.loads(file.read_text()).get("result", {}).get("interfaces", ())
        if interface.get("sandbox")
    }


def network_results() -> list[Path]:
    """Return the plugins' notes about pods of ours: each has one for our network, one for its loopback."""
    containers = {_container(file) for file in _NETWORK_RESULTS.glob(f"{NETWORK}-*")}
    return [file for file in _NETWORK_RESULTS.glob("*") if _container(file) in containers]


def _container(note: Path) -> str:
    """Return whose note it is: its name is network, container and device."""
    return note.name.rsplit("-", 2)[1] if note.name.count("-") > 1 else ""


def log_links(home: Home) -> Iterator[Path]:
    """Yield the links to logs of ours."""
    for link in LOG_LINKS.glob("*.log"):
        with suppress(OSError):
            if str(link.readlink()).startswith(f"{home.folder}/"):
                yield link


def dead_shim_sockets() -> list[Path]:
    """Return the sockets of shims that nobody listens at any more."""
    heard = Path("/proc/net/unix").read_text()
    return [socket for socket in _SHIM_SOCKETS.glob("*") if str(socket) not in heard]


def tables() -> list[str]:
    """Return the rules of kube-proxy."""
    try:
        listed = subprocess.run(_LIST_TABLES, capture_output=True, text=True, check=False)
    except OSError:
        return []
    return [line for line in listed.stdout.splitlines() if line in _TABLES]


def _words(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []
