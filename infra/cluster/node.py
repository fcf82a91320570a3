"""containerd, kubelet and kube-proxy: what it takes that pods run on this machine."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.cluster import api
from infra.cluster.home import BRIDGE, CGROUP, LOOPBACK, NETWORK, NODE, NODE_ADDRESS, POD_NET, Home
from infra.cluster.images import Image, write_archive
from infra.cluster.names import DOMAIN
from infra.cluster.programs import Programs

PACKAGES = ("containerd", "containernetworking-plugins", "nftables", "iptables", "iproute2", "openssl")
PARTS = ("kubelet", "kube-proxy", "names", "containerd")
_PAUSE = "test.local/pause:1"
RUNTIMES = ("runc", "other")
"""`other` is there for a RuntimeClass to name; it is the same program."""


def start_node(home: Home, programs: Programs, built: Path) -> None:
    """Start it and wait until it takes pods."""
    _write_containerd_config(home)
    programs.start("containerd", "containerd", "--config", home.folder / "containerd.toml")
    programs.wait("containerd", lambda: _ctr(home, "version"))
    pause = home.folder / "pause.tar"
    write_archive(pause, Image(_PAUSE, files={"/pause": built / "pause"}, entrypoint=("/pause",)))
    load_images(home, [pause])
    programs.start("names", sys.executable, "-m", "infra.cluster.names")
    (home.folder / "kubelet.json").write_text(json.dumps(_kubelet(home), indent=1))
    programs.start(
        "kubelet",
        *(built / "kube", "kubelet", "--config", home.folder / "kubelet.json"),
        *("--kubeconfig", home.kubeconfig("kubelet"), "--cert-dir", home.keys / "kubelet"),
        *("--root-dir", home.folder / "kubelet", "--hostname-override", NODE, "--node-ip", NODE_ADDRESS),
    )
    programs.start(
        "kube-proxy",
        *(
            built / "kube",
            "kube-proxy",
            "--kubeconfig",
            home.kubeconfig("proxy"),
            "--hostname-override",
            NODE,
        ),
        *("--proxy-mode", "nftables", "--cluster-cidr", POD_NET, "--healthz-bind-address", ""),
        *("--metrics-bind-address", f"{LOOPBACK}:22049"),
    )
    programs.wait("node", lambda: api.node_is_ready(home))


def load_images(home: Home, archives: Sequence[Path]) -> None:
    """Import archives of images: there is no registry to pull from. Raises `CalledProcessError`."""
    for archive in archives:
        words = ("-n", "k8s.io", "images", "import", "--all-platforms", str(archive))
        subprocess.run([*_CTR, str(home.containerd_socket), *words], check=True, capture_output=True)


_CTR = ("ctr", "--address")


def _ctr(home: Home, *words: str) -> bool:
    command = [*_CTR, str(home.containerd_socket), *words]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _write_containerd_config(home: Home) -> None:
    runtimes = "\n".join(
        f'[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]\n'
        'runtime_type = "io.containerd.runc.v2"\n'
        f'options = {{ SystemdCgroup = false, Root = "{home.folder}/runc" }}'
        for name in RUNTIMES
    )
    (home.folder / "cni").mkdir(exist_ok=True)
    (home.folder / "cni" / "10-millrace.conflist").write_text(json.dumps(_network(home), indent=1))
    (home.folder / "containerd.toml").write_text(
        _CONTAINERD.format(home=home, pause=_PAUSE, runtimes=runtimes)
    )


# restrict_oom_score_adj: without CAP_SYS_RESOURCE no pause process could be made harder to kill.
_CONTAINERD = """version = 2
root = "{home.folder}/containerd"
state = "{home.folder}/containerd-state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
address = "{home.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
stream_server_address = "127.0.0.1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{home.folder}/cni"
{runtimes}
"""


def _network(home: Home) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": str(home.folder / "addresses"),
        "ranges": [[{"subnet": POD_NET}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [bridge]}


def _kubelet(home: Home) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{home.containerd_socket}",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(home.keys / "client.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,  # 1.35 is the last that can be had with it
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,  # it would leave them behind
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,  # nothing could pull a removed image again
        "imageGCLowThresholdPercent": 99,
        "podLogsDir": str(home.folder / "pod-logs"),
        "volumePluginDir": str(home.folder / "volume-plugins"),
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": DOMAIN,
        "maxPods": 200,
        "podPidsLimit": 1024,
    }
