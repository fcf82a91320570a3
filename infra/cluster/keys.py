"""Who may ask the API what: a token for each user, and the certificates that programs know each other by."""

import json
import secrets
import subprocess
from pathlib import Path

from infra.cluster.home import NODE, PORT, Home

USERS = {
    "admin": ("admin", "system:masters"),
    "controllers": ("controllers", "system:masters"),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", "system:node-proxier"),
}
"""User and groups by the name of their kubeconfig."""

_OPENSSL = "openssl"


def make_keys(home: Home, address: str) -> None:
    """Make all that is not there. The API server signs its own certificate when it starts."""
    home.keys.mkdir(parents=True, exist_ok=True)
    home.keys.chmod(0o700)
    if not (home.keys / "tokens.csv").exists():
        _make_certificates(home.keys)
        _make_tokens(home.keys)
    for user in USERS:
        _write_kubeconfig(home, user, address)


def _make_tokens(folder: Path) -> None:
    lines = []
    for name, (user, groups) in USERS.items():
        token = secrets.token_urlsafe(24)
        _write_private(folder / f"{name}.token", token)
        lines.append(f'{token},{user},{name},"{groups}"\n')
    _write_private(folder / "tokens.csv", "".join(lines))


def _make_certificates(folder: Path) -> None:
    """Make the key of service accounts, and what the API server shows to the kubelet."""
    _openssl("genrsa", "-out", folder / "accounts.key", "2048")
    _openssl("rsa", "-in", folder / "accounts.key", "-pubout", "-out", folder / "accounts.pub")
    request = (
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
    )
    subject = ("-subj", "/O=system:masters/CN=api-server")
    _openssl(*request, *subject, "-keyout", folder / "client.key", "-out", folder / "client.crt")


def _openssl(*words: str | Path) -> None:
    subprocess.run([_OPENSSL, *map(str, words)], check=True, capture_output=True)


def _write_kubeconfig(home: Home, name: str, address: str) -> None:
    server = {
        "server": f"https://{address}:{PORT}",
        "certificate-authority": str(home.keys / "apiserver.crt"),
    }
    token = (home.keys / f"{name}.token").read_text()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
        "current-context": "test",
    }
    _write_private(home.kubeconfig(name), json.dumps(config, indent=1))


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
