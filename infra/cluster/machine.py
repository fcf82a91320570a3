"""What a node takes from the machine: a bridge, control groups, mounts; and how it is all given back."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from infra.cluster.home import NODE_ADDRESS, Home

BRIDGE = "millrace0"
CGROUP = "millrace-cluster"
"""A root of its own, lest it meets the pods of a real node."""
_GIVE_UP_S = 20.0


def prepare_machine() -> None:
    """Make the bridge and the control groups, and have the kernel forward packets. Needs root."""
    if not Path("/sys/class/net", BRIDGE).exists():
        _call("ip", "link", "add", BRIDGE, "type", "bridge")
        _call("ip", "addr", "add", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
        _call("ip", "link", "set", BRIDGE, "up")
    for hierarchy in _hierarchies():
        (hierarchy / CGROUP).mkdir(exist_ok=True)
    for key in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        with suppress(FileNotFoundError):
            Path("/proc/sys", key).write_text("1")


def clean_machine(home: Home) -> None:
    """Take away what the node left: processes first, for they hold the rest. Forwarding stays on."""
    _remove_cgroups()
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((each for each in mounts if each.startswith(f"{home.folder}/")), reverse=True):
        _try("umount", "--lazy", point)
    if Path("/sys/class/net", BRIDGE).exists():
        _try("ip", "link", "delete", BRIDGE)
    for family in ("ip", "ip6"):
        _try("nft", "delete", "table", family, "kube-proxy")


def _hierarchies() -> list[Path]:
    """Return one folder in version 2; one for each controller in version 1."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]


def _remove_cgroups() -> None:
    """Kill whoever is still in our groups, which can only be somebody of our pods, and remove them."""
    give_up_at = time.monotonic() + _GIVE_UP_S
    for folder in (hierarchy / CGROUP for hierarchy in _hierarchies()):
        while folder.exists() and time.monotonic() < give_up_at:
            for members in folder.rglob("cgroup.procs"):
                _kill_members(members)
            for inner, _, _ in os.walk(folder, topdown=False):
                with suppress(OSError):  # its processes take a moment to be gone
                    Path(inner).rmdir()
            time.sleep(0.05)


def _kill_members(members: Path) -> None:
    with suppress(OSError):
        for pid in members.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _try(*command: str) -> None:
    subprocess.run(command, check=False, capture_output=True)
