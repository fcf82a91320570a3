"""Agent and sidecar in real pods: what no stand-in can show."""

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from sandboxes.waiting_python import python_order, waiting_python
from tests.cluster.conftest import HaveImages
from tests.cluster.kubernetes import Cluster, is_ready
from tests.cluster.pods import AGENT_PORT, client_of, sandbox_pod
from tests.sidecar.pair import Client, outcome, python

pytestmark = [pytest.mark.cluster("pods"), pytest.mark.timeout(180)]

StartPod = Callable[..., Client]


@pytest.fixture
def start_pod(cluster: Cluster, namespace: str, have_images: HaveImages) -> StartPod:
    """Start a pod, wait until it is ready, and talk to it as a handler on this machine would."""

    def start(name: str = "sandbox", language: str = "py", **how: Any) -> Client:
        have_images("sidecar-nsenter" if how.get("nsenter") else "sidecar", language)
        if how.get("nsenter"):  # which the restricted profile forbids
            cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce-")
        secret = secrets.token_urlsafe(24)
        pod = sandbox_pod(name, secret, language=language, **how)
        pod["metadata"]["namespace"] = namespace
        cluster.create(pod)
        return client_of(cluster.wait_for_pod(name, namespace, is_ready), secret)

    return start


def test_a_restricted_pod_runs_a_program(start_pod: StartPod) -> None:
    pod = start_pod()
    assert pod.ask("PUT", "/v1/file?name=in.txt", b"hello")[0] == 204
    code = "import os; print(open('in.txt').read(), os.getuid()); open('out.txt', 'w').write('made')"
    result = outcome(pod.run(**python(code)))
    assert (result.stdout, result.facts["status"]) == (b"hello 65532\n", 0)
    assert pod.get("/v1/file?name=out.txt") == (200, b"made")
    assert 0 < result.facts["cpu_s"] < 20


def test_the_code_has_no_powers_and_finds_no_door(start_pod: StartPod) -> None:
    code = (
        "import os, socket\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print([int(status[name], 16) for name in ('CapPrm', 'CapEff', 'CapBnd', 'CapAmb')])\n"
        "print(status['NoNewPrivs'].strip(), status['Seccomp'].strip(), os.getppid())\n"
        "own = socket.gethostbyname(socket.gethostname())\n"
        f"for address in (('127.0.0.1', {AGENT_PORT}), ('127.0.0.1', 8080), (own, 8080)):\n"
        "    try:\n"
        "        door = socket.create_connection(address, 5)\n"
        "        door.send(b'GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(door.recv(9))\n"
        "    except OSError: print('closed')\n"
        "for path in ('/proc/1/mem', '/proc/1/environ', '/proc/1/fd/0', '/millrace/x', '/usr/x'):\n"
        "    try: open(path, 'w' if path[1] in 'mu' else 'r'); print('opened', path)\n"
        "    except OSError: pass\n"
        "print('MILLRACE' in repr(os.environ), 'KUBERNETES' in repr(os.environ))\n"
    )
    lines = outcome(start_pod().run(**python(code))).stdout.decode().splitlines()
    assert lines[:2] == ["[0, 0, 0, 0]", "1 2 1"]
    assert set(lines[2:5]) <= {"closed", "b''"}
    assert lines[5:] == ["False False"]


def test_a_folder_in_memory_is_full_at_its_size(start_pod: StartPod) -> None:
    code = (
        "for folder in ('/mnt/data', '/program', '/tmp'):\n"
        "    wrote = 0\n"
        "    try:\n"
        "        with open(folder + '/big', 'wb') as file:\n"
        "            while True: file.write(bytes(1 << 20)); wrote += 1\n"
        "    except OSError as error: print(folder, wrote <= 64, error.errno, flush=True)\n"
        "    __import__('os').remove(folder + '/big')\n"
    )
    result = outcome(start_pod().run(**python(code)))
    assert result.stdout == b"/mnt/data True 28\n/program True 28\n/tmp True 28\n"


def test_memory_past_the_containers_limit_is_told_by_the_agent_or_by_the_pod(
    start_pod: StartPod, cluster: Cluster, namespace: str
) -> None:
    """Version 1 of control groups takes a process, version 2 the whole container."""
    run = start_pod(memory="96Mi").run(**python("print('so far', flush=True)\nx = bytearray(1 << 30)"))
    result = outcome(run)
    assert result.stdout == b"so far\n"
    if "error" in result.facts:
        status = cluster.get("pod", "sandbox", namespace)["status"]
        ended = {each["name"]: each["state"] for each in status["containerStatuses"]}
        assert ended["language"]["terminated"]["reason"] == "OOMKilled"
    else:
        assert result.facts["oom_kills"] > 0
        assert result.facts["status"] == 9


def test_a_fork_bomb_takes_neither_agent_nor_sidecar(start_pod: StartPod) -> None:
    """The pod has memory for as many processes as its node allows: it is their number that ends them."""
    pod = start_pod(memory="1536Mi")
    code = "import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)"
    result = outcome(pod.run(**python(code, timeout_s=60.0, limits={"pids_max": 64})))
    assert result.facts["stopped"] == "too_many_processes", result
    assert pod.get("/v1/changes")[0] == 200


def test_a_waiting_python_answers(start_pod: StartPod) -> None:
    pod = start_pod(prestart=json.dumps({"argv": waiting_python(), "cwd": "/mnt/data"}))
    assert b'"warm":true' in pod.get("/readyz")[1]
    order = python("import sys; print(sys.argv[1:])", order=python_order("/program/main.py", ["a b"], {}))
    assert outcome(pod.run(**order)).stdout == b"['a b']\n"


def test_a_language_container_that_is_killed_is_told(
    start_pod: StartPod, cluster: Cluster, namespace: str
) -> None:
    run = start_pod().run(**python("print('x', flush=True); input()", keep_stdin_open=True))
    frames = run.frames()
    assert next(frames).payload == b"x\n"
    cluster.kubectl("delete", "pod", "sandbox", "-n", namespace, "--grace-period=0", "--force")
    assert not any(frame.kind == "x" and frame.facts["status"] == 0 for frame in frames)


def test_in_nsenter_mode_the_code_sees_its_own_processes_alone(start_pod: StartPod) -> None:
    code = (
        "import os\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print([int(status[name], 16) for name in ('CapPrm', 'CapEff', 'CapAmb')])\n"
        "print(status['NoNewPrivs'].strip())\n"
        "print(sorted(name for name in os.listdir('/proc') if name.isdigit()) == ['1', str(os.getpid())])\n"
        "os.kill(1, 9); print(os.path.exists('/sidecar'))\n"
    )
    result = outcome(start_pod(nsenter=True).run(**python(code)))
    assert result.stdout == b"[0, 0, 0]\n1\nTrue\nFalse\n"
