"""What the chart lets handlers and pool do: all of it is used, and nothing else is allowed.

The API server itself answers, for every verb on everything that might be of use to an intruder.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.redis import RedisConfig
from infra.tasks import end_tasks
from sandboxes.kubernetes.api import ApiError, KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.job_manifest import job_manifest
from sandboxes.kubernetes.jobs import Jobs
from sandboxes.kubernetes.pod_names import Identity, selector
from sandboxes.kubernetes.pool import PodPool
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import open_api, real_config
from tests.helm.conftest import CHART, PROFILES, helm, rendered
from tests.sandboxes.pods.conftest import claims as claims  # noqa: PLC0414 - a fixture

__all__ = ["helm"]
pytestmark = pytest.mark.cluster("api")

TRY = next(path for path in PROFILES if path.stem == "try")
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
RESOURCES = [
    "pods", "pods/exec", "pods/log", "pods/portforward", "pods/ephemeralcontainers", "jobs.batch", "events",
    "leases.coordination.k8s.io/rel-pool", "leases.coordination.k8s.io", "secrets", "configmaps", "services",
    "deployments.apps", "serviceaccounts/token", "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io", "networkpolicies.networking.k8s.io", "nodes", "namespaces",
]  # fmt: skip
ALLOWED = {
    "edge": set(),
    "handlers": {
        *(("pods", verb) for verb in ("get", "list", "watch", "delete")),
        *(("jobs.batch", verb) for verb in ("create", "delete")),
    },
    "pool": {
        *(("pods", verb) for verb in ("create", "list", "watch", "delete")),
        *(("jobs.batch", verb) for verb in ("list", "delete")),
        *(("leases.coordination.k8s.io/rel-pool", verb) for verb in ("get", "update")),
        ("events", "create"),
    },
}


class Recording(KubernetesApi):
    """Notes every verb that the server granted, as RBAC names it."""

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self.used: set[tuple[str, str]] = set()

    def _response(self, method: str, path: str, **more: Any) -> Any:
        parts = path.split("/namespaces/")[1].split("/")[1:]
        verb = {"POST": "create", "PUT": "update", "DELETE": "delete"}.get(method)
        if verb is None:
            watching = any(name == "watch" for name, _ in more.get("query") or ())
            verb = "watch" if watching else "get" if len(parts) > 1 else "list"
        names = {"jobs": "jobs.batch", "leases": "leases.coordination.k8s.io/rel-pool"}
        self.used.add((names.get(parts[0], parts[0]), verb))
        return super()._response(method, path, **more)


@pytest.fixture
def installed(cluster: Cluster, namespace: str, helm: str) -> str:
    """A namespace with the chart's accounts, roles and Lease."""
    return install_accounts(cluster, namespace, helm)


def install_accounts(cluster: Cluster, namespace: str, helm: str) -> str:
    """Create them; returns the namespace."""
    kinds = {"ServiceAccount", "Role", "RoleBinding", "Lease"}
    things = rendered(helm, TRY, "-n", namespace)
    cluster.create(*(thing for thing in things if thing["kind"] in kinds))
    assert CHART.is_dir()
    return namespace


def kubeconfig_of(cluster: Cluster, namespace: str, component: str, folder: Path) -> Path:
    """Return a kubeconfig with a token of a component's account."""
    token = cluster.kubectl("create", "token", f"rel-{component}", "-n", namespace, "--duration=1h").strip()
    config = json.loads(Path(cluster.kubeconfig).read_text())
    config["users"][0]["user"] = {"token": token}
    path = folder / f"{component}.kubeconfig"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("component", ALLOWED)
def test_an_account_may_do_what_the_table_says_and_nothing_else(
    cluster: Cluster, installed: str, component: str
) -> None:
    account = f"system:serviceaccount:{installed}:rel-{component}"
    asked = list(itertools.product(RESOURCES, VERBS))
    reviews = [_review(account, installed, resource, verb) for resource, verb in asked]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews})
    template = "jsonpath={.status.allowed}{'\\n'}"
    answers = cluster.kubectl("create", "-f", "-", "-o", template, stdin=text).split()
    allowed = {pair for pair, answer in zip(asked, answers, strict=True) if answer == "true"}
    assert allowed == ALLOWED[component]


def _review(account: str, namespace: str, resource: str, verb: str) -> dict[str, Any]:
    name = ""
    if resource.endswith("/rel-pool"):
        resource, name = resource.removesuffix("/rel-pool"), "rel-pool"
    resource, _, sub = resource.partition("/")
    resource, _, group = resource.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "resource": resource, "group": group}
    attributes |= {"subresource": sub} if sub else {}
    attributes |= {"name": name} if name else {}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "groups": ["system:serviceaccounts"], "resourceAttributes": attributes},
    }


@pytest.fixture
async def accounts(
    cluster: Cluster, installed: str, tmp_path: Path
) -> AsyncIterator[tuple[Recording, Recording]]:
    """The APIs of a handler and of a pool, each with its own token."""
    apis = []
    for component in ("handlers", "pool"):
        api = Recording(installed)
        opened = await open_api(kubeconfig_of(cluster, installed, component, tmp_path), installed)
        api._client, api.namespace = opened._client, installed
        apis.append(api)
    yield apis[0], apis[1]
    for api in apis:
        await api.aclose()


async def test_the_pool_uses_each_of_its_permissions_and_no_other(
    cluster: Cluster, accounts: tuple[Recording, Recording], redis_config: RedisConfig, claims: Claims
) -> None:
    """It leads, fills, says why it cannot, replaces, and deletes the Job of a dead handler."""
    _, api = accounts
    config = real_config(api.namespace, {"py": 1}, instance="rel")
    old = real_config(api.namespace, {"py": 1}, instance="rel", cpu_limit="2")
    job = job_manifest("c", config.pod, Identity(name="left", secret_sha256="0" * 64, deadline_s=600), "dead")
    cluster.kubectl("create", "-n", api.namespace, "-f", "-", stdin=json.dumps(job))
    await _until_pods(PodPool(old, api, claims, "p1"), cluster, api.namespace, 1)
    now = [0.0]
    pool = PodPool(config, api, claims, "p2", clock=lambda: now[0])
    await pool._events.tell(await _owner(pool), {"py": "ErrImagePull: no such image"})
    working = asyncio.create_task(pool.run())
    for _ in range(200):
        await asyncio.sleep(0.2)
        now[0] += 1.0
        if ALLOWED["pool"] <= api.used:
            break
    await end_tasks(working)
    assert api.used == ALLOWED["pool"]
    assert "left" not in cluster.kubectl("get", "jobs", "-n", api.namespace, "-o", "name")
    assert "PoolCannotFill" in cluster.kubectl("get", "events", "-n", api.namespace)


async def _until_pods(pool: PodPool, cluster: Cluster, namespace: str, count: int) -> None:
    working = asyncio.create_task(pool.run())
    for _ in range(200):
        await asyncio.sleep(0.2)
        if (
            len(
                cluster.kubectl(
                    "get", "pods", "-n", namespace, "-o", "name", "-l", "millrace.dev/use=pool"
                ).split()
            )
            >= count
        ):
            break
    await end_tasks(working)


async def _owner(pool: PodPool) -> Any:
    assert await pool._lease.try_once()
    return pool._lease.owner


async def test_a_handler_uses_each_of_its_permissions_and_no_other(
    cluster: Cluster, accounts: tuple[Recording, Recording]
) -> None:
    """It looks for its pods, has a Job made and watches its pod, asks why a pod died, and deletes both."""
    api, pool_api = accounts
    config = real_config(api.namespace, {}, instance="rel")
    await api.find("pods", selector(config.pod, "job"))
    jobs = Jobs(api, config, "h")
    starting = asyncio.create_task(jobs.start("rel-job-c-1", "c", None))
    for _ in range(100):
        await asyncio.sleep(0.1)
        if ("pods", "watch") in api.used:
            break
    await end_tasks(starting)
    with pytest.raises(ApiError) as gone:
        await api.get("pods", "no-such-pod")
    assert gone.value.status == 404
    await jobs.delete("rel-job-c-1")
    assert not await api.delete("pods", "no-such-pod")
    assert api.used == ALLOWED["handlers"]
    for call in (
        lambda: api.create("pods", {"metadata": {"name": "x"}}),
        lambda: api.find("jobs", ""),
        lambda: api.get("leases", "rel-pool"),
        lambda: api.create("events", {"metadata": {"name": "x"}}),
        lambda: pool_api.get("pods", "x"),
        lambda: pool_api.create("jobs", {"metadata": {"name": "x"}}),
        lambda: pool_api.get("leases", "another"),
        lambda: pool_api.create("leases", {"metadata": {"name": "x"}}),
    ):
        with pytest.raises(ApiError) as refused:
            await call()
        assert refused.value.status == 403, refused.value.reason
