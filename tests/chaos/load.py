"""Mixed work from one seed: over HTTP and the stream, watched or not, quick, slow, loud, cancelled, late."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

HEADERS = {"x-api-key": "chaos"}
IN_FLIGHT_MAX = 24


@dataclass
class Job:
    """One execution as its publisher knows it."""

    id: str
    body: dict[str, Any]
    expected: str
    """All that it prints if nothing stops it."""
    exit_code: int
    channel: str
    """`wait`, `watch` or `stream`."""
    cancel_after_s: float | None
    accepted_at: datetime | None = None
    seen: list[int] = field(default_factory=list)
    """The seqs that its watcher saw, over all connections."""
    saw_end: bool = False
    """Whether it saw `finished`."""
    answer: dict[str, Any] | None = None
    """What a synchronous client was answered."""
    vanished: bool = False
    """Whether an edge that had just accepted it no longer knew it."""
    told_at: list[datetime] = field(default_factory=list)
    """When it was told anything that a primary may have forgotten afterwards."""

    def told(self) -> None:
        """Note that it was told something now."""
        self.told_at.append(datetime.now(UTC))


class Load:
    """Publishes until told to stop, and watches to the end."""

    def __init__(
        self, dice: random.Random, urls: list[str], publish: Callable[[bytes], Awaitable[object]]
    ) -> None:
        self._dice = dice
        self._urls = urls
        self._publish = publish
        self._client = httpx.AsyncClient(headers=HEADERS, timeout=httpx.Timeout(20, connect=2))
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self.jobs: list[Job] = []
        self.answers: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.unseen: set[str] = set()
        """Ids of those whose end nobody saw in time."""

    async def for_ever(self) -> None:
        """Publish until cancelled, as much as `IN_FLIGHT_MAX` allows."""
        while True:
            await self._slots.acquire()
            job = self._draw()
            self.jobs.append(job)
            task = asyncio.create_task(self._see_through(job), name=job.id)
            self._tasks.add(task)
            task.add_done_callback(self._done)
            await asyncio.sleep(self._dice.uniform(0, 0.15))

    async def all_seen(self, within_s: float) -> None:
        """Wait until every job has been seen to its end."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within_s)
            for task in late:
                self.unseen.add(task.get_name())
                task.cancel()
        await self._client.aclose()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()):
            self.complaints.append(f"{task.get_name()}: {error!r}")

    def _draw(self) -> Job:
        dice, name = self._dice, f"chaos-{len(self.jobs)}"
        lines, pause_s = dice.choice(((1, 0.0), (5, 0.02), (20, 0.1), (40, 0.05)))
        loud = dice.random() < 0.1
        exit_code = dice.choice((0, 0, 0, 7))
        texts = [f"{name} {number}" + (" " + "x" * 20_000 if loud else "") for number in range(lines)]
        if dice.random() < 0.8:
            language = "py"
            tail = " + ' ' + 'x' * 20_000" if loud else ""
            code = (
                f"import sys, time\nfor n in range({lines}):\n"
                f"    print('{name} ' + str(n){tail}, flush=True)\n    time.sleep({pause_s})\n"
                f"sys.exit({exit_code})\n"
            )
        else:
            language, texts = "bash", [f"{name} {number}" for number in range(lines)]
            code = (
                f"for n in $(seq 0 {lines - 1}); do echo {name} $n; sleep {pause_s}; done; exit {exit_code}"
            )
        body: dict[str, Any] = {"id": name, "language": language, "code": code}
        body["retry"] = dice.choice(("if_not_started", "if_not_started", "always", "never"))
        if dice.random() < 0.25:
            body["session_id"] = f"session-{dice.randrange(3)}"
        if dice.random() < 0.1:
            body["deadline"] = (datetime.now(UTC) + timedelta(seconds=dice.uniform(0.1, 5))).isoformat()
        return Job(
            id=name,
            body=body,
            expected="".join(f"{text}\n" for text in texts),
            exit_code=exit_code,
            channel=dice.choice(("wait", "watch", "stream")),
            cancel_after_s=dice.uniform(0, 1) if dice.random() < 0.1 else None,
        )

    async def _see_through(self, job: Job) -> None:
        if job.channel == "stream":
            await self._publish_on_stream(job)
        else:
            await self._submit(job)
        cancelling = asyncio.create_task(self._cancel(job))
        await self._watch(job)
        await cancelling

    async def _publish_on_stream(self, job: Job) -> None:
        while job.accepted_at is None:
            try:
                await self._publish(json.dumps({"type": "run_code", **job.body, "tenant": TENANT}).encode())
            except Exception:  # the broker is away; a second entry of the same id is joined
                await asyncio.sleep(0.2)
            else:
                job.accepted_at = datetime.now(UTC)

    async def _submit(self, job: Job) -> None:
        """Publish over any edge until one accepts it; the id makes sure that it is one execution."""
        prefer = {"prefer": "wait=15"} if job.channel == "wait" else {}
        while job.accepted_at is None:
            answer = await self._ask("POST", "/executions", json=job.body, headers=prefer)
            if answer is None or answer.status_code in (429, 503):
                await asyncio.sleep(0.2)
                continue
            job.told()
            if answer.status_code == 404:  # accepted, and gone with its primary before its end was known
                job.vanished = True
                continue
            if answer.status_code not in (200, 202):
                raise AssertionError(f"{answer.status_code}: {answer.text[:300]}")
            job.accepted_at = datetime.now(UTC)
            if answer.status_code == 200:
                job.answer = answer.json()

    async def _cancel(self, job: Job) -> None:
        if job.cancel_after_s is not None:
            await asyncio.sleep(job.cancel_after_s)
            await self._ask("DELETE", f"/executions/{job.id}")

    async def _watch(self, job: Job) -> None:
        """Follow the log over any edge, from where the last connection ended, until `finished`."""
        while True:
            url = f"{self._dice.choice(self._urls)}/executions/{job.id}/events"
            after, headers = (job.seen[-1] if job.seen else 0), {"accept": "application/x-ndjson"}
            with contextlib.suppress(httpx.HTTPError):
                async with self._client.stream(
                    "GET", url, params={"after": after}, headers=headers
                ) as answer:
                    self.answers[f"events {answer.status_code}"] += 1
                    if answer.status_code == 204:  # there is nothing more to see
                        return
                    if answer.status_code == 200 and await self._read(job, answer):
                        return
            await asyncio.sleep(0.2)

    async def _read(self, job: Job, answer: httpx.Response) -> bool:
        async for line in answer.aiter_lines():
            if line.strip():
                event = json.loads(line)
                job.seen.append(event["seq"])
                job.told()
                if event["type"] == "finished":
                    job.saw_end = True
                    return True
        return False

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            answer = await self._client.request(method, self._dice.choice(self._urls) + path, **more)
        except httpx.HTTPError:
            self.answers[f"{method} no answer"] += 1
            return None
        self.answers[f"{method} {answer.status_code}"] += 1
        return answer


TENANT = "default"
