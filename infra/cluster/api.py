"""The little that bringing a cluster up has to ask its API."""

import json
import ssl
import urllib.request
from typing import Any

from infra.cluster.home import NODE, Home

_TIMEOUT_S = 5.0


def ask(home: Home, path: str) -> bytes:
    """GET `path` as the administrator. Raises `OSError`."""
    config = json.loads(home.kubeconfig().read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
    headers = {"Authorization": f"Bearer {user['token']}"}
    request = urllib.request.Request(cluster["server"] + path, headers=headers)  # noqa: S310 - always https
    with urllib.request.urlopen(request, context=trust, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        body: bytes = answer.read()
        return body


def is_ready(home: Home) -> bool:
    """Whether the API answers."""
    return ask(home, "/readyz") == b"ok"


def has_default_account(home: Home) -> bool:
    """Whether the controllers have done their first work: without this account no pod can be made."""
    return bool(ask(home, "/api/v1/namespaces/default/serviceaccounts/default"))


def node_is_ready(home: Home) -> bool:
    """Whether pods can run."""
    node: dict[str, Any] = json.loads(ask(home, f"/api/v1/nodes/{NODE}"))
    conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"
