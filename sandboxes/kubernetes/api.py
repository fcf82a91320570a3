"""The verbs of the Kubernetes API that Millrace uses, on plain dicts; its client's failures end here.

Objects stay the JSON they are: turning a list of pods into the client's classes costs more than all else
that is done with it.
"""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes_asyncio import config as loading
from kubernetes_asyncio.client import ApiClient, ApiException, Configuration
from kubernetes_asyncio.config import ConfigException

from infra.errors import MillraceError, Misconfigured

Object = dict[str, Any]

_TIMEOUT_S = 10.0
_WATCH_S = 60
"""The server ends a watch after so long; one that is silent for longer than that is dead."""
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ApiError(MillraceError):
    """The API server refused, or cannot be reached (status 0)."""

    def __init__(self, status: int, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s
        """How long the server asks to be left alone."""

    @property
    def is_doubtful(self) -> bool:
        """Whether what was asked for may have been done all the same."""
        return self.status == 0 or self.status >= 500


class KubernetesApi:
    """One connection to the cluster that this process runs in, or that its kubeconfig names."""

    def __init__(self, namespace: str | None = None) -> None:
        self._wanted_namespace = namespace
        self._client: ApiClient | None = None
        self.namespace = namespace or ""
        """Of everything below; known after `open`."""

    @property
    def is_open(self) -> bool:
        """Whether the cluster was found."""
        return self._client is not None

    async def open(self) -> None:
        """Find the cluster. Raises `Misconfigured` where there is none to be found."""
        configuration = Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:
                loading.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
                namespace = _own_namespace()
            else:
                await loading.load_kube_config(client_configuration=configuration)
                namespace = _namespace_of_kubeconfig()
        except (ConfigException, OSError) as error:
            raise Misconfigured(
                f"MILLRACE_SANDBOX=kubernetes needs a cluster: run inside one, or set KUBECONFIG ({error})."
            ) from error
        self.namespace = self._wanted_namespace or namespace
        self._client = ApiClient(configuration)

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def create(self, path: str, body: Object) -> Object:
        """Create an object in the collection `path`, such as `pods`."""
        return await self._json("POST", self._path(path), body=body)

    async def replace(self, path: str, name: str, body: Object) -> Object:
        """Replace an object whole, if its `resourceVersion` is still the newest."""
        return await self._json("PUT", f"{self._path(path)}/{name}", body=body)

    async def get(self, path: str, name: str) -> Object:
        """Read one object."""
        return await self._json("GET", f"{self._path(path)}/{name}")

    async def find(self, path: str, selector: str) -> Object:
        """Read all objects that match a label selector, as a list object."""
        return await self._json("GET", self._path(path), query=[("labelSelector", selector)])

    async def delete(self, path: str, name: str, *, uid: str | None = None) -> bool:
        """Delete an object at once, with what it owns; False if it was gone, or another has its name."""
        body: Object = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self._json("DELETE", f"{self._path(path)}/{name}", body=body)
        except ApiError as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    async def watch(self, path: str, selector: str, since: str) -> AsyncGenerator[Object, None]:
        """Yield watch events after the resource version `since`, until the server ends it.

        Raises `ApiError`: 410 where `since` is too old.
        """
        query = [
            ("watch", "true"),
            ("labelSelector", selector),
            ("resourceVersion", since),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(_WATCH_S)),
        ]
        timeout = aiohttp.ClientTimeout(sock_connect=_TIMEOUT_S, sock_read=_WATCH_S + _TIMEOUT_S)
        async with self._response("GET", self._path(path), query=query, timeout=timeout) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(int(status.get("code", 500)), str(status.get("message", "watch failed")))
                yield event

    async def _json(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        query: list[tuple[str, str]] | None = None,
    ) -> Object:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with self._response(method, path, body=body, query=query, timeout=timeout) as response:
            answer: Object = json.loads(await response.read())
            return answer

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,
        body: Object | None = None,
        query: list[tuple[str, str]] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask the server; the block gets a good answer, still unread. Every failure is an `ApiError`."""
        client = self._client
        assert client is not None, "open() comes first"
        response: aiohttp.ClientResponse | None = None
        try:
            response = await client.call_api(
                path,
                method,
                query_params=query or [],
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
            assert response is not None
            if response.status >= 400:
                raise _refusal(response.status, response.headers, await response.read())
            yield response
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError, ApiException) as error:
            await self._renew_trust(error)
            raise ApiError(
                0, f"The Kubernetes API cannot be reached: {error or type(error).__name__}"
            ) from error
        except (ValueError, KeyError) as error:
            raise ApiError(0, f"The Kubernetes API sent what cannot be read: {error}") from error
        finally:
            if response is not None:
                response.close()

    async def _renew_trust(self, error: Exception) -> None:
        """Read the certificates again where they are what failed: they are rotated now and then."""
        if not isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return
        old, self._client = self._client, None
        try:
            await self.open()
        except Misconfigured:
            self._client = old
        else:
            if old is not None:
                # others may be in the middle of an answer
                asyncio.get_running_loop().call_later(_WATCH_S, _close_later, old)

    def _path(self, path: str) -> str:
        group = _GROUPS[path]
        return f"{group}/namespaces/{self.namespace}/{path}"


_GROUPS = {
    "pods": "/api/v1",
    "events": "/api/v1",
    "jobs": "/apis/batch/v1",
    "leases": "/apis/coordination.k8s.io/v1",
}


def _close_later(client: ApiClient) -> None:
    task = asyncio.ensure_future(client.close())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _refusal(status: int, headers: Any, body: bytes) -> ApiError:
    try:
        reason = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        reason = f"The Kubernetes API answered {status}"
    asked = str(headers.get("Retry-After", ""))
    return ApiError(status, reason, float(asked) if asked.isdigit() else 0.0)


def _own_namespace() -> str:
    return _OWN_NAMESPACE.read_text("utf-8").strip()


def _namespace_of_kubeconfig() -> str:
    _, active = loading.list_kube_config_contexts()
    assert active is not None, "the kubeconfig was loaded by it"
    return str(active["context"].get("namespace") or "default")
