"""A real API server in the place of the fake one: what nodes would say of the pods, the test says.

No scheduler takes the pods, so no node is needed, and none interferes where there is one. What is seen of the
pods comes by a watch of the test's own.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from infra.tasks import end_tasks
from sandboxes.kubernetes.api import ApiError, KubernetesApi, Object
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import open_api
from tests.sandboxes.pods.fake_cluster import ready

_MANAGED = "app.kubernetes.io/managed-by=millrace"


class Unscheduled(KubernetesApi):
    """Creates pods that no scheduler looks at."""

    async def create(self, path: str, body: Object) -> Object:
        specs = {"pods": lambda: body["spec"], "jobs": lambda: body["spec"]["template"]["spec"]}
        if path in specs:
            specs[path]()["schedulerName"] = "nobody"
        return await super().create(path, body)


class ApiWithKubelet:
    """What the tests of the pool ask of a cluster: see `tests.sandboxes.pods.fake_cluster.FakeCluster`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.tier = cluster.tier
        self.created: list[str] = []
        self.deleted: list[str] = []
        self.kubelet: Callable[[Object], Object | None] = lambda _pod: ready("10.0.0.1")
        self._cluster, self._namespace = cluster, namespace
        self._pods: dict[str, Object] = {}
        self._api: KubernetesApi
        self._watching: asyncio.Task[None]

    async def __aenter__(self) -> "ApiWithKubelet":
        self._api = await open_api(self._cluster.kubeconfig, self._namespace)
        since = str((await self._api.find("pods", _MANAGED))["metadata"]["resourceVersion"])
        self._watching = asyncio.create_task(self._watch(since))
        return self

    async def __aexit__(self, *_: object) -> None:
        await end_tasks(self._watching)
        await self._api.aclose()

    async def open(self) -> KubernetesApi:
        """Return a client of the pool's own."""
        opened, client = await open_api(self._cluster.kubeconfig, self._namespace), Unscheduled()
        client._client, client.namespace = opened._client, opened.namespace
        return client

    def pods(self) -> dict[str, Object]:
        """Return the pods that are there."""
        return dict(self._pods)

    async def change_pod(self, name: str, **status: Any) -> None:
        """Change parts of a pod's status."""
        client = self._api._client
        assert client
        response = await client.call_api(
            f"/api/v1/namespaces/{self._namespace}/pods/{name}/status",
            "PATCH",
            header_params={"Content-Type": "application/merge-patch+json", "Accept": "application/json"},
            body={"status": status},
            auth_settings=["BearerToken"],
            _preload_content=False,
        )
        assert response.status in (200, 404), await response.text()
        response.release()

    async def remove(self, kind: str, name: str) -> None:
        """Delete an object, as somebody with kubectl would."""
        assert await self._api.delete(kind, name)

    async def free_the_lease(self, name: str) -> None:
        """Let nobody wait for the lease of the dead to run out."""
        with contextlib.suppress(ApiError):
            lease = await self._api.get("leases", name)
            lease["spec"]["holderIdentity"] = ""
            await self._api.replace("leases", name, lease)

    async def events(self) -> list[Object]:
        """Return all events."""
        return list((await self._api.find("events", ""))["items"])

    async def _watch(self, since: str) -> None:
        while True:
            async for event in self._api.watch("pods", _MANAGED, since):
                pod = event["object"]
                since = str(pod["metadata"]["resourceVersion"])
                if event["type"] != "BOOKMARK":
                    await self._see(event["type"], pod)

    async def _see(self, kind: str, pod: Object) -> None:
        name = pod["metadata"]["name"]
        if kind == "DELETED":
            self._pods.pop(name, None)
            self.deleted.append(name)
            return
        self._pods[name] = pod
        if kind == "ADDED":
            self.created.append(name)
            if status := self.kubelet(pod):
                await self.change_pod(name, **status)
