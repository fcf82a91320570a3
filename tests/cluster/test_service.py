"""The whole service on a real cluster: edge, handlers and pool as processes, the chart's accounts, real pods.

Each has only the permissions that the chart gives it. Then they are killed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import BrokerProcess, until
from tests.cluster.conftest import HaveImages
from tests.cluster.images import image_name
from tests.cluster.kubernetes import Cluster
from tests.cluster.test_permissions import installed, kubeconfig_of
from tests.conftest import StartBroker
from tests.helm.conftest import ROOT, helm

__all__ = ["helm", "installed"]
pytestmark = [pytest.mark.cluster("pods"), pytest.mark.timeout(400)]
KEY = "a-key-of-this-test-alone"
PATIENCE_S = 120.0


class Service:
    """The processes of one Millrace."""

    def __init__(self, cluster: Cluster, namespace: str, broker: BrokerProcess, folder: Path) -> None:
        self.cluster, self.namespace, self._broker, self._folder = cluster, namespace, broker, folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self, component: str) -> None:
        """Start one by the command that the chart's image runs."""
        account = component if component != "edge" else "handlers"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "KUBECONFIG": str(kubeconfig_of(self.cluster, self.namespace, account, self._folder)),
            "MILLRACE_ENV_FILE": os.devnull,
            "MILLRACE_SANDBOX": "kubernetes",
            "MILLRACE_INSTANCE": "rel",
            "MILLRACE_LEASE_SECONDS": "5",
            "K8S_NAMESPACE": self.namespace,
            "K8S_SIDECAR_IMAGE": image_name("sidecar"),
            "K8S_IMAGE_PULL_POLICY": "Never",
            "LANG_IMAGE_PY": image_name("py"),
            "POD_POOL_PY": "2",
            "POD_POOL_JS": "0",
            "REDIS_URL": self._broker.url,
            "API_HOST": "127.0.0.1",
            "API_PORT": str(self.port),
            "API_KEY": KEY,
        }
        with (self._folder / f"{component}.log").open("ab") as log:
            command = [sys.executable, "-m", "millrace", component]
            self.running[component] = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self, component: str) -> None:
        process = self.running.pop(component)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer, whatever its status; empty while nobody answers."""
        headers = {"x-api-key": KEY, "content-type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)
        except OSError:
            return {}

    def pods(self) -> set[str]:
        return set(self.cluster.kubectl("get", "pods", "-n", self.namespace, "-o", "name").split())

    def ready(self) -> int:
        handlers = self.ask("/health/detailed").get("handlers", [])
        return sum(
            each["warm"] for handler in handlers for each in handler["languages"] if each["code"] == "py"
        )

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self._folder.glob("*.log"))


@pytest.fixture
def service(
    cluster: Cluster, installed: str, have_images: HaveImages, start_broker: StartBroker, tmp_path: Path
) -> Iterator[Service]:
    have_images("sidecar", "py")
    made = Service(cluster, installed, start_broker(), tmp_path)
    try:
        for component in ("pool", "handlers", "edge"):
            made.start(component)
        until(lambda: made.ready() >= 2, "two warm pods", PATIENCE_S)
        yield made
    except BaseException:
        print(made.logs())
        raise
    finally:
        made.close()


def test_code_runs_in_pods_over_http_and_survives_every_kill(service: Service) -> None:
    """One story, for each step of it takes a cluster that is up."""
    answer = service.ask("/exec", {"lang": "py", "code": "import os; print(6 * 7, os.getuid())"})
    assert answer["stdout"] == "42 65532\n", answer

    until(lambda: len(service.pods()) == 2, "the used pod to be replaced", PATIENCE_S)
    service.kill("pool")
    before = service.pods()
    service.start("pool")
    assert service.ask("/exec", {"lang": "py", "code": "print('no pool')"})["stdout"] == "no pool\n"
    until(lambda: len(service.pods()) == 2, "the pool to go on", PATIENCE_S)
    assert len(before & service.pods()) == 1, "the next pool adopts what is there"

    until(lambda: service.ready() >= 2, "two warm pods", PATIENCE_S)
    waiting = service.pods()
    body = {"id": "long", "language": "py", "code": "import time; print('on', flush=True); time.sleep(300)"}
    service.ask("/executions", body)
    until(lambda: service.ask("/executions/long").get("status") == "running", "it to run", PATIENCE_S)
    service.kill("handlers")
    service.start("handlers")
    until(lambda: service.ask("/executions/long").get("status") == "finished", "an outcome", PATIENCE_S)
    view = service.ask("/executions/long")
    assert "lost" in json.dumps(view), view
    until(lambda: len(service.pods()) == 2 and not waiting <= service.pods(), "its pod to go", PATIENCE_S)
    until(
        lambda: service.ask("/exec", {"lang": "py", "code": "print(1)"}).get("stdout") == "1\n",
        "work",
        PATIENCE_S,
    )
