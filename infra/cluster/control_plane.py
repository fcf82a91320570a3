"""etcd, API server, controllers and scheduler: all that is needed for objects."""

from pathlib import Path

from infra.cluster import api
from infra.cluster.home import LOOPBACK, NODE_ADDRESS, PORT, SERVICE_NET, Home
from infra.cluster.programs import Programs

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_ETCD, _ETCD_PEERS = f"http://{LOOPBACK}:22379", f"http://{LOOPBACK}:22380"
_ALONE = ("--leader-elect=false", "--secure-port=0", "--profiling=false")


def start_control_plane(home: Home, programs: Programs, kube: Path, *, alone: bool) -> None:
    """Start it and wait until it works. `alone`: there will be no node."""
    programs.start("etcd", kube, "etcd", *_etcd(home))
    programs.start("kube-apiserver", kube, "kube-apiserver", *_api_server(home, alone=alone))
    programs.wait("API server", lambda: api.is_ready(home))
    controllers = (
        "*,-node-lifecycle-controller" if alone else "*"
    )  # nobody renews the lease of a made-up node
    accounts = ("--service-account-private-key-file", home.keys / "accounts.key")
    programs.start(
        "kube-controller-manager",
        *(kube, "kube-controller-manager", "--kubeconfig", home.kubeconfig("controllers"), *_ALONE),
        *(*accounts, "--root-ca-file", home.keys / "apiserver.crt", "--controllers", controllers),
    )
    programs.start(
        "kube-scheduler", kube, "kube-scheduler", "--kubeconfig", home.kubeconfig("scheduler"), *_ALONE
    )
    programs.wait("controllers", lambda: api.has_default_account(home))


def _etcd(home: Home) -> list[str | Path]:
    return [
        *("--data-dir", home.folder / "etcd", "--unsafe-no-fsync", "--log-level", "error"),
        *("--listen-client-urls", _ETCD, "--advertise-client-urls", _ETCD),
        *("--listen-peer-urls", _ETCD_PEERS, "--initial-advertise-peer-urls", _ETCD_PEERS),
        *("--initial-cluster", f"default={_ETCD_PEERS}"),
    ]


def _api_server(home: Home, *, alone: bool) -> list[str | Path]:
    address = LOOPBACK if alone else NODE_ADDRESS
    return [
        *("--etcd-servers", _ETCD, "--service-cluster-ip-range", SERVICE_NET),
        *("--bind-address", address, "--advertise-address", address, "--secure-port", str(PORT)),
        *("--cert-dir", home.keys, "--token-auth-file", home.keys / "tokens.csv"),
        *("--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction"),
        *("--service-account-issuer", "https://kubernetes.default.svc"),
        *("--service-account-key-file", home.keys / "accounts.pub"),
        *("--service-account-signing-key-file", home.keys / "accounts.key"),
        *("--kubelet-client-certificate", home.keys / "client.crt"),
        *(
            "--kubelet-client-key",
            home.keys / "client.key",
            "--kubelet-preferred-address-types",
            "InternalIP",
        ),
        *("--allow-privileged=true", "--profiling=false"),
        *(_WITHOUT_A_NODE if alone else ()),
    ]


# Loopback is no valid endpoint of the service `kubernetes`, and nothing would untaint a made-up node.
_WITHOUT_A_NODE = (
    *("--endpoint-reconciler-type", "none"),
    *("--disable-admission-plugins", "TaintNodesByCondition"),
)
