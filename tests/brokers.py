"""Real brokers as child processes of a test, and waiting for things."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import pytest
import redis

from infra.redis import RedisConfig


class BrokerProcess:
    """One server process on a unix socket, or on a loopback port where `cluster` needs one."""

    def __init__(self, binary: str | Path, *, cluster: bool = False) -> None:
        self._binary = str(binary)
        self._cluster = cluster
        self._folder = Path(tempfile.mkdtemp(prefix="millrace-test-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port() if cluster else 0
        self.socket = self._folder / "broker.sock"

    @property
    def config(self) -> RedisConfig:
        """How to reach it."""
        if self._cluster:
            return RedisConfig(mode="cluster", nodes=(("127.0.0.1", self.port),))
        return RedisConfig(url=f"unix://{self.socket}")

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"redis://127.0.0.1:{self.port}" if self._cluster else f"unix://{self.socket}"

    def client(self) -> "redis.Redis[bytes]":
        """Return a plain synchronous client, as an outsider would use it."""
        return redis.Redis.from_url(self.url, protocol=2)

    def start(self) -> None:
        """Start it with whatever data it had, and wait until it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket)]
        arguments += ["--dir", str(self._folder), "--save", "", "--appendonly", "yes", "--appendfsync", "no"]
        arguments += ["--cluster-enabled", "yes"] if self._cluster else []
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, *arguments], stdout=log, stderr=log)
        until(self._answers, "the broker to answer")
        if self._cluster:
            self._take_all_slots()

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    def close(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def _take_all_slots(self) -> None:
        with self.client() as client:
            if client.execute_command("CLUSTER INFO")["cluster_slots_assigned"] == "0":
                client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", "the cluster")


class Server(Protocol):
    """Something that is started once and closed in the end."""

    def start(self) -> None: ...
    def close(self) -> None: ...


S = TypeVar("S", bound=Server)


@contextlib.contextmanager
def running(server: S) -> Iterator[S]:
    """Start a server for the time of the block; nothing of it is left, even if it never came up."""
    try:
        server.start()
        yield server
    finally:
        server.close()


def absent(reason: str) -> NoReturn:
    """Skip on a laptop, fail where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def until(condition: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
    """Wait for `condition`, and fail naming `what` was waited for."""
    give_up_at = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > give_up_at:
            pytest.fail(f"waited {within_s} s in vain for {what}")
        time.sleep(0.01)


_given: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on now, nobody here was given before, and no connection is given."""
    while True:
        port = random.randint(10_000, 22_000)
        both = {port, port + 10_000}  # a cluster node takes this one, too
        if not both & _given and all(map(_is_free, both)):
            _given.update(both)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
