"""Where the cluster of this machine keeps what: one folder, gone when it is down."""

import os
from dataclasses import dataclass
from pathlib import Path

from infra.cache_folder import cache_folder

NODE = "node"
POD_NET, SERVICE_NET = "10.244.77.0/24", "10.244.78.0/24"
NODE_ADDRESS, LOOPBACK = "10.244.77.1", "127.0.0.1"
PORT = 26443
"""Ports and networks are fixed: there is one cluster on a machine."""
BRIDGE, NETWORK = "millrace0", "millrace"
CGROUP = "millrace-cluster"
"""A root of its own, lest it meets the pods of a real node."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of a cluster that runs, or will."""

    folder: Path

    @property
    def keys(self) -> Path:
        """Tokens and certificates."""
        return self.folder / "keys"

    @property
    def logs(self) -> Path:
        """One file for each program."""
        return self.folder / "logs"

    @property
    def pids(self) -> Path:
        """One file for each program that runs."""
        return self.folder / "pids"

    @property
    def containerd_socket(self) -> Path:
        """Where the node's containers are managed."""
        return self.folder / "containerd.sock"

    @property
    def has_node(self) -> bool:
        """Whether pods run, or did before something broke."""
        return (self.folder / "cni").exists()

    def kubeconfig(self, user: str = "admin") -> Path:
        """How one of `keys.USERS` reaches the API."""
        return self.folder / f"{user}.kubeconfig"


def home() -> Home:
    """Return this user's."""
    return Home(cache_folder(os.environ) / "cluster")
