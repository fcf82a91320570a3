"""What a node takes from the machine: a bridge, control groups, mounts; and how it is all given back."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from infra.cluster.home import BRIDGE, NODE_ADDRESS, Home
from infra.cluster.leftovers import (
    LOG_LINKS,
    cgroups,
    dead_shim_sockets,
    log_links,
    mounts,
    network_namespaces,
    network_results,
    processes,
    tables,
)

_GIVE_UP_S = 20.0


def prepare_machine() -> None:
    """Make the bridge and the control groups, and have the kernel forward packets. Needs root."""
    if not Path("/sys/class/net", BRIDGE).exists():
        _call("ip", "link", "add", BRIDGE, "type", "bridge")
        _call("ip", "addr", "add", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
        _call("ip", "link", "set", BRIDGE, "up")
    for folder in cgroups():
        folder.mkdir(exist_ok=True)
    for key in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        with suppress(FileNotFoundError):
            Path("/proc/sys", key).write_text("1")


def clean_machine(home: Home) -> None:
    """Take away what the node left: processes first, for they hold the rest. Forwarding stays on."""
    _kill(processes(home))  # shims, too, outlive the containerd that started them
    _remove_cgroups()
    namespaces = network_namespaces()
    for point in mounts(home):
        _try("umount", "--lazy", point)
    for file in (*namespaces, *network_results(), *log_links(home), *dead_shim_sockets()):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # it was there before, or has links of somebody else's
        LOG_LINKS.rmdir()
    if Path("/sys/class/net", BRIDGE).exists():
        _try("ip", "link", "delete", BRIDGE)
    for table in tables():
        _try("nft", "delete", *table.split())


def _remove_cgroups() -> None:
    """Kill whoever is still in our groups, which can only be somebody of our pods, and remove them."""
    give_up_at = time.monotonic() + _GIVE_UP_S
    for folder in cgroups():
        while folder.exists() and time.monotonic() < give_up_at:
            for members in folder.rglob("cgroup.procs"):
                _kill_members(members)
            for inner, _, _ in os.walk(folder, topdown=False):
                with suppress(OSError):  # its processes take a moment to be gone
                    Path(inner).rmdir()
            time.sleep(0.05)


def _kill_members(members: Path) -> None:
    with suppress(OSError):
        _kill(int(pid) for pid in members.read_text().split())


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _try(*command: str) -> None:
    subprocess.run(command, check=False, capture_output=True)
