"""A Kubernetes API of a few collections, over HTTP and in this process: for faults and crashes on demand.

It keeps objects, resource versions, conflicts, watches and label selectors as the real one does; what it
lets us do that the real one does not is to fail on purpose. What the real API server says is tried in the
cluster tests. Pods get ready by themselves after `starting_s`, unless `kubelet` says otherwise.
"""

import asyncio
import copy
import inspect
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

Object = dict[str, Any]
Answer = web.StreamResponse | None
Fault = Callable[[web.Request], Answer | Awaitable[Answer]]


class FakeCluster:
    """One namespace, `default`. Use as an async context."""

    def __init__(self, starting_s: float = 0.0) -> None:
        self.starting_s = starting_s
        self.objects: dict[tuple[str, str], Object] = {}
        self.created: list[str] = []
        """Names of all pods there ever were."""
        self.deleted: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        """Asked before every request; what it returns is the answer. It may take its time."""
        self.kubelet: Callable[[Object], Object | None] = self._make_ready
        """Returns the status that a new pod gets, or None to leave it as it is."""
        self.token = "token-1"
        self._version = 100
        self._oldest = 0
        """Watches from an older version than this are refused."""
        self.makes_pods_of_jobs = True
        """Off: as where a quota is used up; the Job itself is accepted."""
        self._history: list[tuple[int, str, str, Object]] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> "FakeCluster":
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        assert self._runner
        await self._runner.cleanup()

    def kubeconfig(self) -> str:
        """Return how to reach it."""
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
                "users": [{"name": "me", "user": {"token": self.token}}],
                "contexts": [
                    {"name": "fake", "context": {"cluster": "fake", "user": "me", "namespace": "default"}}
                ],
                "current-context": "fake",
            }
        )

    def pods(self) -> dict[str, Object]:
        """Return the pods that are there."""
        return {name: thing for (kind, name), thing in self.objects.items() if kind == "pods"}

    async def change_pod(self, name: str, **status: Any) -> None:
        """Change parts of a pod's status."""
        pod = copy.deepcopy(self.objects["pods", name])
        pod["status"] = {**pod.get("status", {}), **status}
        await self._store("pods", pod, "MODIFIED")

    async def free_the_lease(self, name: str) -> None:
        """Let nobody wait for the lease of the dead to run out."""
        if lease := self.objects.get(("leases", name)):
            lease["spec"]["holderIdentity"] = ""

    async def events(self) -> list[Object]:
        """Return all events."""
        return [thing for (kind, _), thing in self.objects.items() if kind == "events"]

    async def forget_history(self) -> None:
        """Make every watch that exists too old."""
        self._oldest = self._version + 1
        self._version += 1
        async with self._changed:
            self._changed.notify_all()

    async def remove(self, kind: str, name: str) -> None:
        """Delete an object, as somebody with kubectl would."""
        gone = self.objects.pop((kind, name))
        if kind == "pods":
            self.deleted.append(name)
        gone["metadata"]["resourceVersion"] = self._next()
        await self._tell(kind, "DELETED", gone)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        answer = self.fault(request) if self.fault else None
        if inspect.isawaitable(answer):
            answer = await answer
        return answer or await self.answer(request)

    async def answer(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911 - a table
        """Answer as the real one would."""
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return refuse(401, "Unauthorized")
        parts = request.path.strip("/").split("/")
        at = parts.index("namespaces") + 2
        kind, name = parts[at], parts[at + 1] if len(parts) > at + 1 else ""
        match request.method:
            case "GET" if "watch" in request.query:
                return await self._watch(request, kind)
            case "GET" if name:
                return self._get(kind, name)
            case "GET":
                return self._find(kind, request.query.get("labelSelector", ""))
            case "POST":
                return await self._create(kind, await request.json())
            case "PUT":
                return await self._replace(kind, name, await request.json())
            case _:
                return await self._delete(kind, name, await request.json())

    def _get(self, kind: str, name: str) -> web.Response:
        thing = self.objects.get((kind, name))
        return web.json_response(thing) if thing else refuse(404, f"{kind} {name} not found")

    def _find(self, kind: str, selector: str) -> web.Response:
        items = [thing for (k, _), thing in self.objects.items() if k == kind and matches(thing, selector)]
        return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})

    async def _create(self, kind: str, thing: Object) -> web.Response:
        name = thing["metadata"]["name"]
        if (kind, name) in self.objects:
            return refuse(409, f"{kind} {name} already exists")
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        thing["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now, "namespace": "default"}
        await self._store(kind, thing, "ADDED")
        if kind == "pods":
            self.created.append(name)
            self._start(name)
        if kind == "jobs" and self.makes_pods_of_jobs:
            pod = copy.deepcopy(thing["spec"]["template"])
            labels = {**pod["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
            await self._create("pods", {**pod, "metadata": {"name": f"{name}-pod", "labels": labels}})
        return web.json_response(self.objects[kind, name], status=201)

    async def _replace(self, kind: str, name: str, thing: Object) -> web.Response:
        held = self.objects.get((kind, name))
        if held is None:
            return refuse(404, "not found")
        if thing["metadata"].get("resourceVersion") != held["metadata"]["resourceVersion"]:
            return refuse(409, "the object has been modified")
        await self._store(kind, thing, "MODIFIED")
        return web.json_response(self.objects[kind, name])

    async def _delete(self, kind: str, name: str, options: Object) -> web.Response:
        thing = self.objects.get((kind, name))
        if thing is None:
            return refuse(404, "not found")
        wanted = options.get("preconditions", {}).get("uid")
        if wanted and wanted != thing["metadata"]["uid"]:
            return refuse(409, "the uid is another")
        await self.remove(kind, name)
        if kind == "jobs" and ("pods", f"{name}-pod") in self.objects:
            await self.remove("pods", f"{name}-pod")
        return web.json_response(thing)

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        since, selector = int(request.query["resourceVersion"]), request.query.get("labelSelector", "")
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            if since < self._oldest:
                status = {"kind": "Status", "code": 410, "message": "too old resource version"}
                await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
                return response
            for version, event_kind, what, thing in list(self._history):
                if version > since and event_kind == kind and matches(thing, selector):
                    await response.write(json.dumps({"type": what, "object": thing}).encode() + b"\n")
            since = max(since, self._version)
            async with self._changed:
                await self._changed.wait_for(lambda: self._version > since or since < self._oldest)  # noqa: B023

    async def _store(self, kind: str, thing: Object, what: str) -> None:
        thing = copy.deepcopy(thing)
        thing["metadata"]["resourceVersion"] = self._next()
        self.objects[kind, thing["metadata"]["name"]] = thing
        await self._tell(kind, what, thing)

    async def _tell(self, kind: str, what: str, thing: Object) -> None:
        self._history.append((self._version, kind, what, copy.deepcopy(thing)))
        async with self._changed:
            self._changed.notify_all()

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _start(self, name: str) -> None:
        async def start() -> None:
            await asyncio.sleep(self.starting_s)
            pod = self.objects.get(("pods", name))
            if pod and (status := self.kubelet(pod)):
                await self.change_pod(name, **status)

        task = asyncio.create_task(start())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make_ready(self, _pod: Object) -> Object:
        return ready("127.0.0.1")


def ready(address: str) -> Object:
    """Return the status of a pod that is ready."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": now}
    return {"phase": "Running", "podIP": address, "conditions": [condition]}


def waiting(reason: str, message: str = "") -> Object:
    """Return the status of a pod whose language container waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "language", "state": state}]}


def ended(reason: str, exit_code: int = 137, container: str = "language") -> Object:
    """Return the status of a pod one of whose containers ended."""
    state = {"terminated": {"reason": reason, "exitCode": exit_code}}
    return {"phase": "Running", "containerStatuses": [{"name": container, "state": state}]}


def refuse(status: int, message: str, **headers: str) -> web.Response:
    """Return a refusal as the API writes it."""
    body = {"kind": "Status", "code": status, "message": message}
    return web.json_response(body, status=status, headers=headers)


def matches(thing: Object, selector: str) -> bool:
    """Whether an object's labels match a selector of equalities."""
    labels = thing["metadata"].get("labels", {})
    wanted = [term.partition("=") for term in selector.split(",") if term]
    return all(labels.get(name) == value for name, _, value in wanted)
