"""What breaks under a running execution, for real: the right outcome, the output so far, and no pod left.

All of it on one service. An execution says `on` and then waits for a line, so that nothing depends on time.
"""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from infra.cluster.programs import Programs
from sandboxes.kubernetes.pod_manifest import pod_manifest
from sandboxes.kubernetes.pod_names import Identity
from tests.brokers import BrokerProcess, until
from tests.cluster.conftest import HaveImages
from tests.cluster.host import processes_of_pod
from tests.cluster.images import image_name
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import real_config
from tests.cluster.service import PATIENCE_S, Service, serving
from tests.helm.conftest import helm

__all__ = ["helm"]
pytestmark = [pytest.mark.cluster("pods"), pytest.mark.timeout(400)]
POOL = 2
WAIT = "print('on', flush=True)\nprint('got', input())"


@pytest.fixture(scope="module")
def running(
    cluster: Cluster,
    helm: str,
    have_images: HaveImages,
    redis_server: BrokerProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    have_images("sidecar", "py")
    settings = {"LANG_IMAGE_JS": image_name("nowhere"), "MAX_EXECUTION_TIME": "60"}
    folder = tmp_path_factory.mktemp("service")
    with serving(Service, cluster, helm, redis_server.url, folder, **settings) as made:
        yield made


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    """The service with a full pool; afterwards it is full again, and nothing else is there."""
    running.until_full(POOL)
    try:
        yield running
        running.until_full(POOL)
    except BaseException:
        print(running.logs())
        raise


class Waiting:
    """An execution that has said `on`, and the pod that it is in."""

    def __init__(self, service: Service, retry: str, code: str = WAIT) -> None:
        self.service = service
        self.before = service.waiting()
        self.id = service.submit(code, retry=retry)
        self.until_it_says_on(attempt=1)
        self.pod = service.pod_of(self.before)

    def until_it_says_on(self, attempt: int) -> None:
        def says() -> bool:
            view = self.service.view(self.id)
            assert view.get("status") != "finished", view
            return bool(view.get("stdout", "").count("on\n") == attempt)

        until(says, f"attempt {attempt} to say on", PATIENCE_S)

    def answer(self) -> None:
        told = self.service.ask(f"/executions/{self.id}/input", {"data": "a line\n"})
        assert told["http"] < 300, told

    def end(self) -> dict[str, Any]:
        return self.service.until_finished(self.id)


def delete(waiting: Waiting) -> None:
    namespace = waiting.service.namespace
    waiting.service.cluster.kubectl(
        "delete", "pod", waiting.pod, "-n", namespace, "--grace-period=0", "--force"
    )


def evict(waiting: Waiting) -> None:
    """As `kubectl drain` does it."""
    service = waiting.service
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": waiting.pod, "namespace": service.namespace},
    }
    path = f"/api/v1/namespaces/{service.namespace}/pods/{waiting.pod}/eviction"
    service.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def kill_sidecar(waiting: Waiting) -> None:
    _kill(waiting, "/sidecar")


def kill_agent(waiting: Waiting) -> None:
    _kill(waiting, "/millrace/agent")


def _kill(waiting: Waiting, program: str) -> None:
    uid = waiting.service.cluster.get("pod", waiting.pod, waiting.service.namespace)["metadata"]["uid"]
    (pid,) = processes_of_pod(uid, program)
    os.kill(pid, signal.SIGKILL)


# Without its sidecar the agent ends as well, and the kubelet may tell of either first.
FAULTS = {
    delete: "was deleted",
    evict: "was deleted",
    kill_sidecar: " ended: ",
    kill_agent: "language ended",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_pod_that_is_lost_is_told_with_the_output_so_far(service: Service, fault: Any) -> None:
    waiting = Waiting(service, retry="if_not_started")
    fault(waiting)
    view = waiting.end()
    assert (view["outcome"], view["stdout"], view["attempt"]) == ("lost", "on\n", 1), view
    assert FAULTS[fault] in view["message"], view


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_pod_that_is_lost_is_replaced_where_the_publisher_says_so(service: Service, fault: Any) -> None:
    waiting = Waiting(service, retry="always")
    fault(waiting)
    waiting.until_it_says_on(attempt=2)
    waiting.answer()
    view = waiting.end()
    assert (view["outcome"], view["exit_code"], view["attempt"]) == ("exited", 0, 2), view
    assert view["stdout"] == "on\non\ngot a line\n", "what the first attempt said is kept"


def test_too_much_memory_is_the_codes_own_fault(service: Service) -> None:
    """And no reason to run it again."""
    code = "print('on', flush=True)\nx = bytearray(1 << 31)\nx[::4096] = x[::4096]"
    view = service.until_finished(service.submit(code, retry="always"))
    assert (view["outcome"], view["stdout"], view["attempt"]) == ("out_of_memory", "on\n", 1), view


def test_work_in_pods_goes_on_and_finishes_while_the_api_server_is_dead(service: Service) -> None:
    """The pool says so; nothing spins, nothing is lost, and it is full again afterwards."""
    programs = Programs(service.cluster.home)
    waiting = Waiting(service, retry="if_not_started")
    programs.kill("kube-apiserver")
    try:
        other = service.ask("/exec", {"lang": "py", "code": "print('the last warm pod')"})
        assert other.get("stdout") == "the last warm pod\n", other
        none = service.ask("/exec", {"lang": "py", "code": "print(1)"})
        assert (none["http"], none["error"]) == (503, "execution_lost"), none
        assert "no pod for py" in none["message"], none
        until(lambda: "cannot be asked" in service.pool_notes(), "the pool to say it", PATIENCE_S)
        waiting.answer()
        view = waiting.end()
    finally:
        programs.revive("kube-apiserver")
    assert (view["outcome"], view["exit_code"], view["stdout"]) == ("exited", 0, "on\ngot a line\n"), view
    until(lambda: not service.pool_notes(), "the pool to be well", PATIENCE_S)


def test_work_on_a_node_whose_kubelet_is_dead_goes_on(service: Service) -> None:
    """Its pods stay what they are until the cluster gives the node up; the pool fills when it is back."""
    programs = Programs(service.cluster.home)
    waiting = Waiting(service, retry="if_not_started")
    programs.kill("kubelet")
    try:
        until(lambda: not _node_is_ready(service.cluster), "the node to be given up", PATIENCE_S)
        waiting.answer()
        view = waiting.end()
    finally:
        programs.revive("kubelet")
    assert (view["outcome"], view["stdout"]) == ("exited", "on\ngot a line\n"), view
    until(lambda: _node_is_ready(service.cluster), "the node to be back", PATIENCE_S)


def _node_is_ready(cluster: Cluster) -> bool:
    conditions = cluster.get("node", "node")["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def test_an_image_that_cannot_be_had_is_told_over_http(service: Service) -> None:
    """There is no pool for it: the Job says why."""
    answer = service.ask("/exec", {"lang": "js", "code": "console.log(1)"})
    assert (answer["http"], answer["error"]) == (503, "execution_lost"), answer
    assert "ErrImageNeverPull" in answer["message"], answer


def test_a_quota_that_is_used_up_is_told_over_http_and_by_the_pool_though_no_handler_lives(
    service: Service,
) -> None:
    cluster, namespace = service.cluster, service.namespace
    cluster.kubectl("create", "quota", "none", "--hard=pods=0", "-n", namespace)
    try:
        until(lambda: _is_refused_a_pod(service), "the API server to hold to the quota", PATIENCE_S)
        for _ in range(POOL):
            assert service.ask("/exec", {"lang": "py", "code": "print(1)"})["stdout"] == "1\n"
        answer = service.ask("/exec", {"lang": "py", "code": "print(1)"})
        assert (answer["http"], answer["error"]) == (503, "execution_lost"), answer
        assert "exceeded quota" in answer["message"], answer
        service.kill("handlers")
        until(lambda: not service.ask("/health/detailed")["handlers"], "the handler to be missed", PATIENCE_S)
        until(lambda: "exceeded quota" in service.pool_notes(), "the pool to say why", PATIENCE_S)
        assert service.ask("/health/detailed")["status"] == "degraded"
    finally:
        cluster.kubectl("delete", "quota", "none", "-n", namespace)
        if "handlers" not in service.running:
            service.start("handlers")


def _is_refused_a_pod(service: Service) -> bool:
    """An API server hears of a quota a moment after it was made."""
    identity = Identity(name="one-more", secret_sha256="0" * 64, deadline_s=60)
    pod = json.dumps(pod_manifest("py", real_config(service.namespace, {}).pod, identity))
    words = ("create", "--dry-run=server", "-n", service.namespace, "-f", "-")
    return "exceeded quota" in service.cluster.kubectl(*words, stdin=pod, check=False)
