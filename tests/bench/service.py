"""A broker and a whole `millrace serve` on it, started for the measurement and stopped again."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from infra.process.broker import EmbeddedBroker  # noqa: E402 - needs the path set first

KEY = "bench-key-0123456789abcdef"


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run an embedded broker in `folder`; yields its URL."""
    server = EmbeddedBroker(folder)
    process = subprocess.Popen(server._command())
    try:
        while not server.ready():
            time.sleep(0.01)
        yield server.url
    finally:
        process.terminate()
        process.wait()


class Service:
    """A running `millrace serve` and one kept connection to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def exec(self, code: str, lang: str = "py") -> dict[str, object]:
        """Run `code` synchronously over the kept connection."""
        return self._post("/exec", {"lang": lang, "code": code})

    def look(self) -> None:
        """Ask for something that the edge knows by itself, over the kept connection."""
        self._connection.request("GET", "/health", headers={"X-API-Key": KEY})
        self._connection.getresponse().read()

    def run_in_session(self, session_id: str, code: str) -> dict[str, object]:
        """Run Python with the variables of a session, and wait for its end."""
        return self._post("/executions", {"language": "py", "code": code, "session_id": session_id})

    def _post(self, path: str, body: object) -> dict[str, object]:
        headers = {"Content-Type": "application/json", "X-API-Key": KEY, "Prefer": "wait=60"}
        self._connection.request("POST", path, json.dumps(body), headers)
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {answer}")
        return answer

    def another(self) -> "Service":
        """Return one more connection to the same service."""
        return Service(self.process, self.port)

    def first_byte_delay_ms(self) -> float:
        """Return the time from a program's first write to the reader's first output event, streamed."""
        code = "import time\ntime.sleep(0.1)\nprint(time.time(), flush=True)\ntime.sleep(0.05)"
        body = json.dumps({"language": "py", "code": code})
        headers = {"Content-Type": "application/json", "X-API-Key": KEY, "Accept": "text/event-stream"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/executions", body, headers)
        response = connection.getresponse()
        for line in response:
            if line.startswith(b"data:") and (event := json.loads(line[5:]))["type"] == "output":
                arrived = time.time()
                response.read()
                connection.close()
                return (arrived - float(event["data"])) * 1000
        raise RuntimeError("no output event came")

    def own_processes(self) -> list[psutil.Process]:
        """Return supervisor, handlers and edge: nothing that a sandbox brings along."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children()]

    def idle_memory_mb(self) -> tuple[float, float]:
        """Return the proportional set size of the whole tree of processes, and what it may be.

        The budget is 150 MB, and 400 MB with a zygote that has numpy and pandas imported.
        """
        tree = [psutil.Process(self.process.pid)]
        tree += tree[0].children(recursive=True)
        sizes = [process.memory_full_info().pss / 1e6 for process in tree]
        heavy = any(
            size > 45 for size, process in zip(sizes, tree, strict=True) if process.name() == "python3"
        )
        return sum(sizes), 400.0 if heavy else 150.0


@contextmanager
def serve(redis_url: str, data_dir: Path, sandbox: str = "local", **settings: str) -> Iterator[Service]:
    """Run `millrace serve` until ready."""
    port = free_port()
    environment = {
        **os.environ,
        "API_PORT": str(port),
        "API_KEY": KEY,
        "REDIS_URL": redis_url,
        "REDIS_KEY_PREFIX": f"bench-{sandbox}:",
        "MILLRACE_DATA_DIR": str(data_dir),
        "MILLRACE_SANDBOX": sandbox,
        "LOG_LEVEL": "WARNING",
        "RATE_LIMIT_ENABLED": "false",
        **settings,
    }
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "millrace.py"), "serve"], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        service = Service(process, port)
        _wait_until_it_runs(service)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_until_it_runs(service: Service) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            service.another().exec("print(1)")
            return
        except (OSError, RuntimeError, http.client.HTTPException):
            time.sleep(0.1)
    raise RuntimeError("millrace serve did not get ready within 60 s")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
