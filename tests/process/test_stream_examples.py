"""The stream examples run as they stand, in every language, against one service; none has Millrace in it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.brokers import absent, free_port, until
from tests.process.processes import ROOT, Serve
from tests.process.stream_examples import EXAMPLES, LANGUAGES, Commands

pytestmark = pytest.mark.timeout(300)

_WITHIN_S = 120


@dataclass(frozen=True, slots=True)
class Place:
    """A service, and a plain client of its broker."""

    service: Serve
    broker: "redis.Redis[bytes]"
    environment: dict[str, str]

    def run(self, *command: str) -> list[str]:
        ended = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=_WITHIN_S, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout.splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if shutil.which("bwrap") is None:
        absent("bubblewrap is not installed")
    service = Serve(tmp_path_factory.mktemp("streams") / "a folder", free_port())
    try:
        [url] = set(re.findall(r"unix://[^\s\",]+", service.ready().said()))
        with redis.Redis.from_url(url) as broker:
            yield Place(service, broker, {**os.environ, "REDIS_URL": url})
    finally:
        service.process.terminate()
        service.process.wait(timeout=60)


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with tempfile.TemporaryDirectory() as folder:
        yield Commands(EXAMPLES, Path(folder))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_publisher_reads_the_log_of_its_job(place: Place, commands: Commands, language: str) -> None:
    """Numbered from 1, to its one end."""
    lines = place.run(*commands.of(language, "publish"))
    assert (lines[0], lines[1]) == ("1 queued", "2 started")
    assert lines[-1].endswith("finished exited")
    assert any(line.split()[1] == "output" for line in lines)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_group_gets_every_result_also_what_a_dead_member_left(
    place: Place, commands: Commands, language: str
) -> None:
    """A member took one and died; its time is up, and the next member takes it over before what is new."""
    group = f"group-{language}"
    place.broker.xgroup_create("millrace:results", group, id="$", mkstream=True)
    jobs = [f"{group}-{number}" for number in range(3)]
    finish(place, jobs[0])
    [(_, [(entry, _)])] = place.broker.xreadgroup(group, "dead", {"millrace:results": ">"}, count=1)
    place.broker.xclaim("millrace:results", group, "dead", 0, [entry], idle=3_600_000)
    for job in jobs[1:]:
        finish(place, job)
    lines = place.run(*commands.of(language, "consume"), group, "3")
    assert lines == [f"{job} exited" for job in jobs]
    outcomes = place.broker.hgetall(f"{group}:outcomes")
    assert outcomes == {job.encode(): b"exited" for job in jobs}
    assert place.broker.xpending("millrace:results", group)["pending"] == 0


def test_the_users_of_the_page_can_do_what_it_says_and_nothing_else(place: Place, commands: Commands) -> None:
    """As they stand there; the consumer keeps its notes under keys of its own."""
    page = (ROOT / "docs" / "streams.md").read_text()
    for line in re.findall(r"^ACL SETUSER .+$", page, re.MULTILINE):
        place.broker.execute_command(*shlex.split(line.replace("(", "'(").replace(")", ")'")))
    place.broker.execute_command("ACL", "SETUSER", "consumer", "(+hset ~limited:*)")
    path = place.environment["REDIS_URL"].removeprefix("unix://")

    def as_user(name: str) -> Place:
        url = f"unix://{name}@{path}?password=password"
        return Place(place.service, redis.Redis.from_url(url), {**os.environ, "REDIS_URL": url})

    publisher, consumer = as_user("publisher"), as_user("consumer")
    assert publisher.run(*commands.of("python", "publish"))[-1].endswith("finished exited")
    assert len(consumer.run(*commands.of("python", "consume"), "limited", "1")) == 1
    refused = [
        (publisher, "XADD", "millrace:results", "*", "data", "{}"),
        (publisher, "XADD", "millrace:log:job", "*", "data", "{}"),
        (publisher, "XRANGE", "millrace:requests", "-", "+"),
        (publisher, "KEYS", "*"),
        (publisher, "DEL", "millrace:requests"),
        (consumer, "XADD", "millrace:requests", "*", "data", "{}"),
        (consumer, "XADD", "millrace:results", "*", "data", "{}"),
        (consumer, "XGROUP", "DESTROY", "millrace:results", "limited"),
        (consumer, "CONFIG", "GET", "*"),
    ]
    for user, *command in refused:
        with pytest.raises(redis.exceptions.NoPermissionError):
            user.broker.execute_command(*command)


def finish(place: Place, job: str) -> None:
    """Have a job run to its end, so that results come in a known order."""
    request = {"id": job, "language": "bash", "code": "true", "stdin": ""}
    place.broker.xadd("millrace:requests", {"data": json.dumps(request)})
    until(lambda: job.encode() in last_result(place), f"the result of {job}", 60)


def last_result(place: Place) -> bytes:
    newest = place.broker.xrevrange("millrace:results", count=1)
    return newest[0][1][b"data"] if newest else b""


def test_a_pipeline_runs_each_step_once_though_results_come_twice(place: Place) -> None:
    """The second step has an id made from the first's: asked for twice, it is one execution."""
    pipeline = [sys.executable, str(EXAMPLES / "pipeline.py")]
    with subprocess.Popen([*pipeline, "work", "2"], env=place.environment) as between:
        try:
            assert place.run(*pipeline, "start", "p1") == ["exited 5050"]
            [again] = [
                fields
                for _, fields in place.broker.xrange("millrace:results")
                if json.loads(fields[b"data"])["execution_id"] == "p1-numbers"
            ]
            place.broker.xadd("millrace:results", again)
            assert between.wait(timeout=60) == 0
        finally:
            between.kill()
    finish(place, "after-p1")  # whatever the repeat led to is settled before this one is
    results = [json.loads(fields[b"data"]) for _, fields in place.broker.xrange("millrace:results")]
    assert [result["execution_id"] for result in results].count("p1-sum") == 1
    log = [json.loads(fields[b"data"])["type"] for _, fields in place.broker.xrange("millrace:log:p1-sum")]
    assert log.count("started") == 1
    assert place.broker.xlen("pipeline:p1") == 1
