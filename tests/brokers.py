"""Real brokers as child processes of a test, and waiting for things."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import redis

from infra.nats import NatsConfig
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


def absent(reason: str) -> NoReturn:
    """Skip on a laptop, fail where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def until(condition: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    """Wait for `condition`, and fail naming `what` was waited for."""
    give_up_at = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > give_up_at:
            pytest.fail(f"waited {within_s} s in vain for {what}")
        time.sleep(0.01)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    # A cluster node also takes the port 10,000 above.
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port


class NatsProcess:
    """One nats-server with JetStream on loopback ports, alone or one of a cluster."""

    def __init__(self, binary: str | Path, *, name: str = "one", routes: tuple[int, ...] = ()) -> None:
        self._binary = str(binary)
        self._name = name
        self._routes = routes
        self._folder = Path(tempfile.mkdtemp(prefix="millrace-nats-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.cluster_port = free_port() if not routes else 0
        self.more = ""
        """Lines for the server's configuration, of the test's own."""

    @property
    def config(self) -> NatsConfig:
        """How to reach it."""
        return NatsConfig(servers=(self.url,))

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it with whatever data it had, and wait until it listens."""
        path = self._folder / "nats.conf"
        path.write_text(self._configuration())
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, "-c", str(path)], stdout=log, stderr=log)
        until(self._listens, "nats-server to listen")

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _configuration(self) -> str:
        lines = [
            f"server_name: {self._name}",
            f"listen: 127.0.0.1:{self.port}",
            f'jetstream {{ store_dir: "{self._folder}/store", max_mem: 64MB, max_file: 1GB }}',
        ]
        if self._routes:
            routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self._routes)
            lines.append(
                f"cluster {{ name: millrace, listen: 127.0.0.1:{self.cluster_port}, routes: [{routes}] }}"
            )
        return "\n".join([*lines, self.more, ""])

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False
