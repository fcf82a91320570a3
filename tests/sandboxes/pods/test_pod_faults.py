"""What becomes of an execution when its pod does not live to its end: the right outcome, nothing left."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.redis import RedisConfig
from sandboxes.kubernetes.pod_state import pod_state
from sandboxes.kubernetes.post_mortem import told
from sandboxes.protocol import (
    Exit,
    OutputFrame,
    Program,
    Sandbox,
    SandboxFailed,
    SandboxSpec,
    SandboxUnavailable,
    StateOrder,
)
from tests.sandboxes.bodies import LIMITS, finish
from tests.sandboxes.pods.conftest import config_of, eventually
from tests.sandboxes.pods.fake_cluster import ended, refuse, waiting
from tests.sandboxes.pods.pairs import Bench

SPEC = SandboxSpec("test", "py", LIMITS)
TALK = "import sys, time\nsys.stdout.write('before\\n')\ntime.sleep(60)"


@pytest.fixture
async def bench(
    programs: None, redis_config: RedisConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    made = Bench(config_of({"py": 1}), redis_config)
    await made.start(monkeypatch, tmp_path)
    await eventually(lambda: ready_pods(made), "a warm pod")
    yield made
    await made.close()


async def ready_pods(bench: Bench) -> int:
    return list((await bench.claims.states()).values()).count("ready")


async def until_it_talks(sandbox: Sandbox, frames: Any) -> None:
    assert await anext(frames) == OutputFrame("stdout", b"before\n")


async def test_a_warm_pod_is_taken_and_gone_afterwards(bench: Bench) -> None:
    sandbox = await bench.sandboxes.acquire(SPEC)
    assert sandbox.pod_name in bench.cluster.pods()
    assert "-job-" not in sandbox.pod_name
    result = await finish(sandbox, Program("print(6 * 7)"))
    await sandbox.close()
    assert (result.stdout, result.exit.exit_code) == (b"42\n", 0)
    assert sandbox.pod_name in bench.cluster.deleted


async def test_an_empty_pool_falls_back_to_a_job(bench: Bench) -> None:
    taken = [await bench.sandboxes.acquire(SPEC) for _ in range(2)]
    assert ["-job-" in sandbox.pod_name for sandbox in taken] == [False, True]
    for sandbox in taken:
        await sandbox.close()
    await eventually(lambda: not any(kind == "jobs" for kind, _ in bench.cluster.objects), "the Job to go")


async def test_a_language_without_a_pool_gets_a_job_and_bash_runs_in_pythons_pods(bench: Bench) -> None:
    shell = await bench.sandboxes.acquire(SandboxSpec("test", "bash", LIMITS))
    assert "-py-" in shell.pod_name
    assert (await finish(shell, Program("echo $((6*7))"))).stdout == b"42\n"
    await shell.close()
    perl = await bench.sandboxes.acquire(SandboxSpec("test", "c", LIMITS))
    assert "-job-c-" in perl.pod_name
    await perl.close()


async def test_variables_live_on_from_pod_to_pod(bench: Bench) -> None:
    first = await bench.sandboxes.acquire(SPEC)
    await finish(first, Program("x = 41", state=StateOrder(None, 1 << 20)))
    saved = await first.saved_state()
    await first.close()
    assert saved.data
    second = await bench.sandboxes.acquire(SPEC)
    result = await finish(second, Program("print(x + 1)", state=StateOrder(saved.data, 1 << 20)))
    assert result.stdout == b"42\n"
    await second.close()


async def test_a_pod_deleted_by_hand_in_the_middle_is_a_failure_that_keeps_the_output(bench: Bench) -> None:
    sandbox = await bench.sandboxes.acquire(SPEC)
    async with aclosing(sandbox.run(Program(TALK))) as frames:
        await until_it_talks(sandbox, frames)
        await bench.cluster.remove("pods", sandbox.pod_name)
        with pytest.raises(SandboxFailed, match="was deleted"):
            await anext(frames)
    await sandbox.close()


async def test_a_dead_sidecar_is_a_failure(bench: Bench) -> None:
    sandbox = await bench.sandboxes.acquire(SPEC)
    async with aclosing(sandbox.run(Program(TALK))) as frames:
        await until_it_talks(sandbox, frames)
        sidecar = bench.cluster.pairs[sandbox.pod_name].sidecar
        assert sidecar
        sidecar.kill()
        await bench.cluster.change_pod(sandbox.pod_name, **ended("Error", container="sidecar"))
        with pytest.raises(SandboxFailed, match="sidecar ended: Error, exit code 137"):
            await anext(frames)
    await sandbox.close()


async def test_an_agent_killed_for_memory_is_out_of_memory(bench: Bench) -> None:
    sandbox = await bench.sandboxes.acquire(SPEC)
    async with aclosing(sandbox.run(Program(TALK))) as frames:
        await until_it_talks(sandbox, frames)
        await bench.cluster.change_pod(sandbox.pod_name, **ended("OOMKilled"))
        await asyncio.to_thread(bench.cluster.pairs[sandbox.pod_name].kill_agent)
        exit_ = await anext(frames)
    assert isinstance(exit_, Exit)
    assert (exit_.outcome, exit_.output.stdout_bytes) == ("out_of_memory", 7)
    assert (await sandbox.changes()).produced == ()
    await sandbox.close()


async def test_a_silent_node_is_noticed(bench: Bench) -> None:
    """The connection stands, and nothing comes: no end, no heartbeat."""
    sandbox = await bench.sandboxes.acquire(SPEC)
    async with aclosing(sandbox.run(Program(TALK))) as frames:
        await until_it_talks(sandbox, frames)
        sidecar = bench.cluster.pairs[sandbox.pod_name].sidecar
        assert sidecar
        for process in psutil.Process(sidecar.pid).children(recursive=True):
            process.send_signal(signal.SIGSTOP)
        with pytest.raises(SandboxFailed, match="is lost"):
            await anext(frames)
    await sandbox.close()


async def test_a_pod_that_died_while_it_waited_is_passed_over(bench: Bench) -> None:
    (waiting_pod,) = bench.cluster.pods()
    sidecar = bench.cluster.pairs[waiting_pod].sidecar
    assert sidecar
    sidecar.kill()
    sidecar.wait()
    sandbox = await bench.sandboxes.acquire(SPEC)
    assert sandbox.pod_name != waiting_pod
    await sandbox.close()
    await eventually(lambda: waiting_pod in bench.cluster.deleted, "the dead one to go")


async def test_a_pod_handed_out_twice_refuses_whoever_comes_second(bench: Bench) -> None:
    """A Redis that lost its last writes offers the pod again; its first execution goes on undisturbed."""
    sandbox = await bench.sandboxes.acquire(SPEC)
    async with aclosing(sandbox.run(Program("import time; time.sleep(1); print('mine')"))) as frames:
        next_frame = asyncio.ensure_future(anext(frames))
        claims = bench.claims
        await claims._client.hset(claims._states, sandbox.pod_name, "ready")
        await claims._client.lpush(claims._ready("py"), sandbox.pod_name)
        other = await bench.sandboxes.acquire(SPEC)
        assert other.pod_name != sandbox.pod_name
        assert await next_frame == OutputFrame("stdout", b"mine\n")
        await other.close()
    await sandbox.close()


async def test_a_pod_is_deleted_once_the_api_is_back(bench: Bench) -> None:
    sandbox = await bench.sandboxes.acquire(SPEC)
    bench.cluster.fault = lambda _request: refuse(500, "away")
    closing = asyncio.ensure_future(sandbox.close())
    await asyncio.sleep(0.7)
    assert sandbox.pod_name in bench.cluster.pods()
    bench.cluster.fault = None
    await closing
    await eventually(lambda: sandbox.pod_name in bench.cluster.deleted, "the pod to go")


async def test_work_in_pods_finishes_while_the_api_is_away(bench: Bench) -> None:
    sandbox = await bench.sandboxes.acquire(SPEC)
    bench.cluster.fault = lambda _request: refuse(500, "away")
    result = await finish(sandbox, Program("open('f', 'w').write('x'); print('done')"))
    assert (result.stdout, result.files) == (b"done\n", {"f": b"x"})
    bench.cluster.fault = None
    await sandbox.close()


async def test_a_job_that_cannot_get_its_image_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandboxes.kubernetes.jobs._STUCK_S", 0.3)
    bench.cluster.kubelet = lambda _pod: waiting("ErrImagePull", "no such image")
    with pytest.raises(SandboxUnavailable, match="no such image"):
        await bench.sandboxes.acquire(SandboxSpec("test", "rs", LIMITS))
    await eventually(lambda: not any(kind == "jobs" for kind, _ in bench.cluster.objects), "the Job to go")


async def test_a_job_over_quota_says_so(bench: Bench) -> None:
    def over_quota(request: Any) -> Any:
        is_job = request.method == "POST" and request.path.endswith("/jobs")
        return refuse(403, "exceeded quota") if is_job else None

    bench.cluster.fault = over_quota
    with pytest.raises(SandboxUnavailable, match="exceeded quota"):
        await bench.sandboxes.acquire(SandboxSpec("test", "rs", LIMITS))


async def test_a_job_that_gets_no_pod_says_so_with_what_the_pool_knows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota on pods lets the Job pass; only who creates pods himself is told why there are none."""

    def over_quota(request: Any) -> Any:
        is_pod = request.method == "POST" and request.path.endswith("/pods")
        return refuse(403, "exceeded quota: pods") if is_pod else None

    monkeypatch.setattr("sandboxes.kubernetes.jobs._NO_POD_S", 0.3)
    monkeypatch.setattr("sandboxes.kubernetes.sandboxes.HOLD_EVERY_S", 0.1)
    bench.cluster.fault, bench.cluster.makes_pods_of_jobs = over_quota, False
    last = await bench.sandboxes.acquire(SPEC)
    await last.close()
    await eventually(lambda: any("exceeded quota" in note for note in bench.sandboxes.info().notes), "a note")
    with pytest.raises(SandboxUnavailable, match=r"made no pod .* the pool has none either: exceeded quota"):
        await bench.sandboxes.acquire(SPEC)
    await eventually(lambda: not any(kind == "jobs" for kind, _ in bench.cluster.objects), "the Job to go")


async def test_troubles_of_the_pool_are_told_with_the_handler(bench: Bench) -> None:
    bench.cluster.kubelet = lambda _pod: waiting("ImagePullBackOff", "no such image")
    (first,) = bench.cluster.pods()
    await bench.cluster.remove("pods", first)
    await eventually(
        lambda: any("no such image" in note for note in bench.sandboxes.info().notes), "the note", 40.0
    )
    assert bench.sandboxes.info().kind == "kubernetes"


POD: dict[str, Any] = {
    "metadata": {"name": "a", "uid": "u", "creationTimestamp": "2026-11-28T00:00:00Z"},
    "spec": {"containers": []},
}


def with_status(**status: Any) -> dict[str, Any]:
    return POD | {"status": status}


def test_an_eviction_for_disk_is_the_codes_fault_and_for_memory_the_nodes() -> None:
    full = 'Usage of EmptyDir volume "tmp" exceeds the limit "1Mi".'
    fault = told(with_status(phase="Failed", reason="Evicted", message=full))
    assert fault and (fault.outcome, full in fault.message) == ("killed", True)
    with pytest.raises(SandboxFailed, match="was evicted: The node was low on resource: memory"):
        told(with_status(phase="Failed", reason="Evicted", message="The node was low on resource: memory."))


def test_a_running_pod_tells_nothing_yet() -> None:
    assert told(with_status(phase="Running")) is None


def test_a_pod_past_its_deadline_is_over() -> None:
    state = pod_state(with_status(phase="Failed", reason="DeadlineExceeded", message="active too long"))
    assert (state.is_over, state.trouble) == (True, "DeadlineExceeded: active too long")


def test_an_unschedulable_pod_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    state = pod_state(with_status(phase="Pending", conditions=[condition]))
    assert (state.is_over, state.trouble) == (False, "Unschedulable: 0/3 nodes")


def test_an_address_of_ipv6_is_written_as_urls_have_it() -> None:
    sidecar = {"name": "sidecar", "ports": [{"containerPort": 8080}]}
    pod = POD | {"spec": {"containers": [sidecar]}, "status": {"podIP": "fd00::1"}}
    assert pod_state(pod).address == "[fd00::1]:8080"
