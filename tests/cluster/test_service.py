"""The whole service on real pods: it answers over HTTP, and is killed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import until
from tests.cluster.conftest import HaveImages
from tests.cluster.kubernetes import Cluster
from tests.cluster.service import PATIENCE_S, Service
from tests.cluster.test_permissions import installed
from tests.conftest import StartBroker
from tests.helm.conftest import helm

__all__ = ["helm", "installed"]
pytestmark = [pytest.mark.cluster("pods"), pytest.mark.timeout(400)]


@pytest.fixture
def service(
    cluster: Cluster, installed: str, have_images: HaveImages, start_broker: StartBroker, tmp_path: Path
) -> Iterator[Service]:
    have_images("sidecar", "py")
    made = Service(cluster, installed, start_broker().url, tmp_path)
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
