"""Code that attacks what runs it: the agent beside it and the sidecar behind the shared network."""

import socket
from contextlib import closing, suppress

from tests.brokers import until
from tests.sidecar.pair import Pair, command, outcome, python


def test_without_the_secret_nothing_is_answered(pair: Pair) -> None:
    for secret in ("", "wrong", pair.secret + "x", pair.secret[:-1]):
        for method, path in (
            ("POST", "/v1/run"),
            ("POST", "/v1/claim"),
            ("GET", "/v1/file?name=x"),
            ("POST", "/v1/drain"),
        ):
            status, body = pair.ask(method, path, b"{}", secret=secret)
            assert (status, b"unauthorized" in body) == (401, True)
    assert pair.get("/healthz", secret="")[0] == pair.get("/readyz", secret="")[0] == 200


def test_a_claim_is_for_one_holder(pair: Pair) -> None:
    first = pair.ask("POST", "/v1/claim", b'{"holder": "one"}')
    assert first[0] == 200
    assert b'"mode":"agent"' in first[1]
    assert pair.ask("POST", "/v1/claim", b'{"holder": "one"}')[0] == 200
    assert pair.ask("POST", "/v1/claim", b'{"holder": "two"}')[0] == 409
    assert pair.ask("POST", "/v1/claim", b'{"holder": ""}')[0] == 400


def test_the_agent_has_no_door_for_the_code(pair: Pair) -> None:
    code = (
        "import socket\n"
        f"try: socket.create_connection(('127.0.0.1', {pair.agent_port}), 1); print('connected')\n"
        "except OSError as error: print(type(error).__name__)\n"
    )
    assert outcome(pair.run(**python(code))).stdout == b"ConnectionRefusedError\n"


def test_from_inside_the_pod_the_sidecar_does_not_listen(programs: None) -> None:
    """The stand-in lets the test in over loopback; a pod's sidecar lets nobody in that way."""
    pair = Pair(local=False)
    try:
        pair.install()
        pair.start_sidecar(ready=False)
        until(lambda: _is_open(pair.port), "the sidecar to listen")
        with closing(socket.create_connection(("127.0.0.1", pair.port), 5)) as door:
            door.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            with suppress(ConnectionResetError):
                assert door.recv(100) == b""
    finally:
        pair.close()


def _is_open(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), 5)):
        return True
    return False


def test_the_key_that_lies_about_opens_nothing_any_more(pair: Pair) -> None:
    code = (
        "print(len(open('/millrace/key').read()) > 0)\n"
        "try: open('/millrace/key', 'w')\n"
        "except OSError: print('read only')\n"
    )
    assert outcome(pair.run(**python(code))).stdout == b"True\nread only\n"


def test_signals_do_not_reach_the_agent(pair: Pair) -> None:
    code = (
        "import os, signal\n"
        "for number in range(1, 65):\n"
        "    for _ in range(20):\n"
        "        try: os.kill(1, number)\n"
        "        except OSError: pass\n"
        "print('tried')\n"
    )
    result = outcome(pair.run(**python(code)))
    assert (result.stdout, result.facts["status"]) == (b"tried\n", 0)


def test_stopping_everybody_stops_nothing(pair: Pair) -> None:
    code = "sleep 100 & kill -STOP -1; kill -KILL 1; echo tried"
    result = outcome(pair.run(commands=[command("bash", "-c", code)], limits={"output_bytes_max": 99}))
    assert (result.stdout, result.facts["status"]) == (b"tried\n", 0)


def test_the_agents_memory_and_descriptors_cannot_be_opened(pair: Pair) -> None:
    code = (
        "import os\n"
        "for name, flags in (('mem', os.O_RDWR), ('mem', 0), ('environ', 0), ('maps', 0), ('auxv', 0)):\n"
        "    try: print('opened', name, os.read(os.open('/proc/1/' + name, flags), 10))\n"
        "    except OSError: pass\n"
        "for name in ('fd', 'root', 'cwd'):\n"
        "    try:\n"
        "        for entry in os.listdir('/proc/1/' + name): print('listed', name, entry)\n"
        "    except OSError: pass\n"
    )
    assert outcome(pair.run(**python(code))).stdout == b""


def test_the_code_has_only_its_own_descriptors_and_no_new_privileges(pair: Pair) -> None:
    code = (
        "import os\n"
        "print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], os.getsid(0) == os.getpid())\n"
        "print(dict(line.split(':', 1) for line in open('/proc/self/status'))['NoNewPrivs'].strip())\n"
    )
    assert outcome(pair.run(**python(code))).stdout == b"[0, 1, 2] True\n1\n"


def test_limits_cannot_be_raised(pair: Pair) -> None:
    code = (
        "import resource as r\n"
        "for kind in (r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE, r.RLIMIT_MEMLOCK):\n"
        "    print(r.getrlimit(kind)[1])\n"
        "    try: r.setrlimit(kind, (1 << 40, 1 << 40)); print('raised', kind)\n"
        "    except (OSError, ValueError): pass\n"
    )
    limits = {"open_files_max": 100, "disk_bytes_max": 5000}
    assert outcome(pair.run(**python(code, limits=limits))).stdout == b"100\n5000\n0\n65536\n"


def test_memory_ends_at_the_limit_whoever_holds_it(pair: Pair) -> None:
    code = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0: held = bytearray(60 << 20); time.sleep(30); os._exit(0)\n"
        "time.sleep(30)\n"
    )
    result = outcome(pair.run(**python(code, limits={"memory_bytes_max": 128 << 20})))
    assert result.facts["stopped"] == "out_of_memory"
    assert 128 << 20 < result.facts["memory_bytes_peak"] < 512 << 20


def test_too_many_processes_end_the_run(pair: Pair) -> None:
    code = (
        "import subprocess, time\nx = [subprocess.Popen(['sleep', '30']) for _ in range(60)]\ntime.sleep(30)"
    )
    result = outcome(pair.run(**python(code, limits={"pids_max": 40})))
    assert (result.facts["stopped"], pair.processes()) == ("too_many_processes", 1)


def test_a_fork_bomb_leaves_nothing(pair: Pair) -> None:
    code = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    result = outcome(pair.run(**python(code, timeout_s=2.0, limits={"pids_max": 200})))
    assert (result.facts["stopped"], pair.processes()) == ("too_many_processes", 1)


def test_an_agent_that_the_code_starves_is_lost_alone_and_the_run_ends(pair: Pair) -> None:
    """Limits of a process of one's own user may be lowered: it is the code's own agent, and it is told."""
    code = (
        "import resource as r\n"
        "for kind in (r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_AS, r.RLIMIT_DATA, r.RLIMIT_CPU):\n"
        "    try: r.prlimit(1, kind, (0, 0))\n"
        "    except OSError: pass\n"
        "print('x' * 500_000)\n"
    )
    last = outcome(pair.run(**python(code, timeout_s=10.0))).facts
    assert last.get("error") == "agent_lost" or "status" in last
    assert pair.get("/healthz")[0] == 200


def test_a_filter_of_system_calls_holds_for_the_code(pair: Pair) -> None:
    import base64

    from sandboxes.seccomp import filter_bytes

    code = "import ctypes\nc = ctypes.CDLL(None)\nprint(c.ptrace(0, 0, 0, 0), c.unshare(0x10000000))"
    order = python(code, seccomp=base64.b64encode(filter_bytes(network=True)).decode())
    assert outcome(pair.run(**order)).stdout == b"-1 -1\n"


def test_a_drained_pod_accepts_nothing_and_runs_nothing(pair: Pair) -> None:
    run = pair.run(**python("print('x', flush=True); input()", keep_stdin_open=True))
    frames = run.frames()
    assert next(frames).payload == b"x\n"
    assert pair.ask("POST", "/v1/drain")[0] == 204
    assert [frame.kind for frame in frames][-1] in "xf"
    assert pair.get("/readyz")[0] == 503
    assert pair.ask("POST", "/v1/claim", b'{"holder": "one"}')[0] == 503


def test_an_agent_that_is_gone_is_told(pair: Pair) -> None:
    run = pair.run(**python("print('x', flush=True); input()", keep_stdin_open=True))
    frames = run.frames()
    assert next(frames).payload == b"x\n"
    pair.kill_agent()
    assert list(frames)[-1].facts["error"] == "agent_lost"
    assert pair.get("/readyz")[0] == 503


def test_the_agent_takes_no_connection_without_the_key_and_waits_on(programs: None) -> None:
    pair = Pair()
    try:
        pair.install()
        pair.start_agent()
        for said in (b"", b"K\0\0\0\3bad", b"R\0\0\0\2{}", b"\xff" * 64):
            # an error is as good: it has been shut already
            with closing(pair.connect_to_agent()) as stranger, suppress(OSError):
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
                assert stranger.recv(100) == b""
        pair.start_sidecar()
        assert outcome(pair.run(**python("print('well')"))).stdout == b"well\n"
    finally:
        pair.close()
