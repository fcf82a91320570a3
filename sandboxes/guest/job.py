"""The child's side of one execution: isolated already, it waits for orders and carries them out.

The words on the job socket are those of the cold path's process 1: orders, each a length and a marshalled
dict, and answers in lines of JSON. We say hello with two directory descriptors (working directory, program
folder). An order `start` comes with stdin, stdout, stderr and maybe more, and says at which `places` they
belong. One with `script` runs that Python program in this very process, and the zygote tells how it ended;
any other is a command that is started and waited for, and we answer `ended` or `failed`.
"""

from __future__ import annotations

import _socket
import array
import gc
import json
import marshal
import multiprocessing.process
import os
import resource
import signal
import sys
import time
from typing import Any

from . import hooks, script, state, tools
from .isolation import WORKING_DIRECTORY, greeting

_CHUNK_BYTES = 1 << 14
_DESCRIPTORS_MAX = 16
_ANCILLARY_BYTES_MAX = _socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
_HEAD_BYTES = 4
_GREETING = greeting()
_REHEARSAL = marshal.dumps({"do": "start", "fds": [], "places": [], "rlimits": {"CORE": 0}, "env": {}})
USUAL_ENVIRONMENT: dict[str, str] = {}
"""What stands in `os.environ` before there is an order."""


def carry_out(job: Any) -> None:
    """Carry out orders until one takes this process over. Does not return.

    `job` is a socket whose descriptor is `JOB_FD`, whatever it was before.
    """
    received = b""
    stdio = array.array("i")
    while True:
        end = _HEAD_BYTES + int.from_bytes(received[:_HEAD_BYTES], "big")
        if _HEAD_BYTES < end <= len(received):
            order = marshal.loads(received[_HEAD_BYTES:end])  # noqa: S302 - the service's own
            received = received[end:]
            _obey(job, order, list(stdio))
            stdio = array.array("i")
            continue
        data, ancillary, _, _ = job.recvmsg(_CHUNK_BYTES, _ANCILLARY_BYTES_MAX, _socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)  # the service needs this child no more
        received += data
        for _, _, packed in ancillary:
            stdio.frombytes(packed)


def get_ready() -> None:
    """Say ready, when all that an order will write to is copied: go its way before there is one."""
    rehearse()
    _GREETING.carry_out()


def rehearse() -> None:
    """Become a process of its own, and go the way of an order that has a program of no consequence."""
    gc.enable()
    hooks.fresh_start()
    _forget_what_siblings_share()
    order = marshal.loads(_REHEARSAL)  # noqa: S302 - our own
    _adopt(order["fds"], order)
    _set_environment(USUAL_ENVIRONMENT)
    script.rehearse()


def _obey(job: Any, order: dict[str, Any], stdio: list[int]) -> None:
    if order["do"] != "start":
        os._exit(0)
    if "script" in order:
        job.close()  # the program speaks to nobody in our name; the zygote tells how it ended
        _adopt(stdio, order)
        _run_script(order)
    else:
        _run_command(job, order, stdio)


def _adopt(stdio: list[int], order: dict[str, Any]) -> None:
    """Take the descriptors and the limits of the order; both are for good."""
    for place, fd in zip(order["places"], stdio):  # noqa: B905  3.9
        os.dup2(fd, place)
        os.close(fd)
    for name, value in order["rlimits"].items():
        _lower(getattr(resource, "RLIMIT_" + name), value)


def _lower(kind: int, value: int) -> None:
    """Set a limit, or keep the lower one that the host set for all of us."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _run_script(order: dict[str, Any]) -> None:
    _set_environment(order["env"])
    sys.path.insert(0, WORKING_DIRECTORY)
    if "TZ" in order["env"]:
        time.tzset()
    keeper = state.Keeper(state.Plan.parse(order["state"])) if "state" in order else None
    callable_tools = tools.Tools(tools.Plan.parse(order["tools"])) if "tools" in order else None
    script.run(order["script"], order["args"], keeper, callable_tools)


def _set_environment(environment: dict[str, str]) -> None:
    """Make it so; mostly it is, and comparing does not write to anything."""
    if environment == USUAL_ENVIRONMENT:
        return
    for name in USUAL_ENVIRONMENT.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if USUAL_ENVIRONMENT.get(name) != value:
            os.environ[name] = value


def _forget_what_siblings_share() -> None:
    """Draw anew what was drawn once in the zygote."""
    secret = multiprocessing.process.AuthenticationString(os.urandom(32))  # type: ignore[attr-defined]
    multiprocessing.process._current_process._config["authkey"] = secret  # type: ignore[attr-defined]
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _run_command(job: Any, order: dict[str, Any], stdio: list[int]) -> None:
    heard, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        _adopt(stdio, order)
        os.write(say, _become(order).encode())
        os._exit(127)
    for fd in (say, *stdio):
        os.close(fd)
    with os.fdopen(heard, "rb") as pipe:
        fault = pipe.read().decode()
    _, status, used = os.wait4(pid, 0)
    cpu_s = used.ru_utime + used.ru_stime
    _say(job, _could_not_start(order, fault) if fault else _ended(status, cpu_s, used.ru_maxrss))


def _ended(status: int, cpu_s: float, rss_kb: int) -> dict[str, Any]:
    return {"status": status, "cpu_s": cpu_s, "memory_bytes_peak": rss_kb * 1024, "over_memory": False}


def _could_not_start(order: dict[str, Any], fault: str) -> dict[str, Any]:
    return {"failed": f"{order['argv'][0]}: {fault}"}


def _say(job: Any, message: dict[str, Any]) -> None:
    job.sendall(json.dumps(message).encode() + b"\n")


def _become(order: dict[str, Any]) -> str:
    """Replace this process by the order's command; return why that cannot be."""
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)  # Python ignores them, programs expect them
    try:
        os.chdir(order["cwd"])
        os.execvpe(order["argv"][0], order["argv"], order["env"])
    except OSError as error:
        return error.strerror or "cannot be started"
