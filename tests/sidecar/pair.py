"""An agent and a sidecar without a cluster: bubblewrap stands in for the two containers of a pod.

As in a pod the agent is process 1 of its own pid namespace, and both share the network and the folders
/mnt/data and /program and nothing else. Unlike in a pod there are no limits of a container.
"""

import base64
import hashlib
import http.client
import json
import os
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sandboxes.pod_programs import pod_programs, put_guest_files
from tests.brokers import free_port, until

FOLDERS = ("data", "program", "tmp", "millrace")
UID = "65532"


@dataclass(frozen=True)
class Frame:
    """One frame of a run's answer."""

    kind: str
    number: int
    payload: bytes

    @property
    def facts(self) -> dict[str, Any]:
        """The payload of an `x` or `f`."""
        return json.loads(self.payload)


@dataclass
class Run:
    """A run's answer, read frame by frame at the test's pace."""

    connection: http.client.HTTPConnection
    answer: http.client.HTTPResponse

    def frames(self) -> Iterator[Frame]:
        while head := self.answer.read(9):
            kind, number, size = struct.unpack(">cII", head)
            yield Frame(kind.decode(), number, self.answer.read(size))

    def close(self) -> None:
        """Go away without reading the rest."""
        if self.connection.sock:
            self.connection.sock.close()
        self.answer.close()
        self.connection.close()


@dataclass
class Outcome:
    """All of a run's answer."""

    stdout: bytes
    stderr: bytes
    facts: dict[str, Any]
    frames: list[Frame]


def outcome(run: Run) -> Outcome:
    """Read to the end; beats are left out, numbers checked."""
    frames = list(run.frames())
    assert [frame.number for frame in frames] == list(range(1, len(frames) + 1))
    told = [frame for frame in frames if frame.kind != "h"]
    assert [frame.kind for frame in told if frame.kind in "xf"] == [told[-1].kind]
    written = {kind: b"".join(frame.payload for frame in told if frame.kind == kind) for kind in "oe"}
    return Outcome(written["o"], written["e"], told[-1].facts, told)


def command(*argv: str, stage: str = "run", timeout_s: float = 20.0, **env: str) -> dict[str, Any]:
    """One command of an order."""
    cwd = "/mnt/data" if stage == "run" else "/program"
    return {"stage": stage, "argv": list(argv), "env": env, "cwd": cwd, "timeout_s": timeout_s}


def python(code: str, **more: Any) -> dict[str, Any]:
    """An order that runs Python."""
    limits = {"output_bytes_max": 1 << 20, "open_files_max": 1024} | more.pop("limits", {})
    timeout_s = more.pop("timeout_s", 20.0)
    return {
        "commands": [command("python3", "-I", "/program/main.py", timeout_s=timeout_s)],
        "files": [{"name": "main.py", "content": base64.b64encode(code.encode()).decode()}],
        "limits": limits,
        **more,
    }


@dataclass
class Client:
    """A sidecar as a handler reaches it."""

    host: str
    port: int
    secret: str

    def get(self, path: str, **more: Any) -> tuple[int, bytes]:
        return self.ask("GET", path, **more)

    def ask(
        self, method: str, path: str, body: bytes = b"", *, secret: str | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of an answer; status 0 if there is none."""
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
            headers = {"Authorization": f"Bearer {self.secret if secret is None else secret}"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        return 0, b""

    def run(self, **order: Any) -> "Run":
        """Begin a run; the answer's frames can be read from what is returned."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.secret}"}
        connection.request("POST", "/v1/run", json.dumps(order).encode(), headers)
        return Run(connection, connection.getresponse())


class Pair(Client):
    """One stand-in for a pod. `url` and `secret` are all a handler needs."""

    def __init__(self, prestart: Mapping[str, Any] | None = None, *, local: bool = True) -> None:
        super().__init__("127.0.0.1", free_port(), secrets.token_urlsafe(24))
        self.agent_port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-pair-"))
        self._prestart = prestart
        self._local = local
        self.agent: subprocess.Popen[bytes] | None = None
        self.sidecar: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        """Then a thread that still waits for it to be ready waits in vain."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Install, start both, and wait until the pod would be ready."""
        self.install()
        self.start_agent()
        self.start_sidecar()

    def install(self) -> None:
        """Do what the init container does."""
        programs = pod_programs()
        for name in FOLDERS:
            (self.folder / name).mkdir()
        put_guest_files(self.folder / "image" / "guest")
        for name in ("agent", "sidecar"):
            shutil.copy(programs / name, self.folder / "image" / name)
        for path in (self.folder, *self.folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o755)  # another uid's, where root runs the tests
        self._run("/sidecar", "install", "/millrace", rw=True).wait(timeout=30)

    def start_agent(self) -> None:
        env = {"K8S_EXECUTOR_PORT": str(self.agent_port)}
        self.agent = self._run("/millrace/agent", env=env, pid_namespace=True)

    def start_sidecar(self, *, ready: bool = True) -> None:
        self.sidecar = self._run("/sidecar", env=self._sidecar_environment())
        if ready:
            until(lambda: self.get("/readyz")[0] == 200 or self._is_closed, "the pair to be ready")

    def connect_to_agent(self) -> socket.socket:
        """Connect as a stranger would."""
        connected: list[socket.socket] = []

        def connect() -> bool:
            with suppress(OSError):
                connected.append(socket.create_connection(("127.0.0.1", self.agent_port), 5))
            return bool(connected)

        until(connect, "the agent to listen")
        return connected[0]

    def kill_agent(self) -> None:
        """End the agent's container, as the kernel does that is out of memory."""
        assert self.agent
        self.agent.kill()
        self.agent.wait()

    def processes(self) -> int:
        """Count the processes in the agent's container."""
        assert self.agent
        (inner,) = psutil.Process(self.agent.pid).children()
        return 1 + len(inner.children(recursive=True))

    def close(self) -> None:
        """End both and remove everything."""
        self._is_closed = True
        for process in (self.sidecar, self.agent):
            if process:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sidecar_environment(self) -> dict[str, str]:
        prestart = {"MILLRACE_PRESTART": json.dumps(self._prestart)} if self._prestart else {}
        return {
            "MILLRACE_SECRET_SHA256": hashlib.sha256(self.secret.encode()).hexdigest(),
            "K8S_EXECUTOR_PORT": str(self.agent_port),
            "MILLRACE_SIDECAR_PORT": str(self.port),
            "MILLRACE_SIDECAR_LOCAL": "true" if self._local else "",
            **prestart,
        }

    def _run(
        self,
        *command: str,
        env: Mapping[str, str] = {},
        pid_namespace: bool = False,
        rw: bool = False,
    ) -> subprocess.Popen[bytes]:
        words = ["bwrap", "--unshare-user", "--uid", UID, "--gid", UID, "--unshare-ipc", "--die-with-parent"]
        words += [
            "--ro-bind",
            "/usr",
            "/usr",
            "--ro-bind",
            "/etc",
            "/etc",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
        ]
        for name in ("bin", "lib", "lib64", "sbin"):
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        words += ["--unshare-pid", "--as-pid-1"] if pid_namespace else []
        for name, place in (("data", "/mnt/data"), ("program", "/program"), ("tmp", "/tmp")):
            words += ["--bind", str(self.folder / name), place]
        words += ["--bind" if rw else "--ro-bind", str(self.folder / "millrace"), "/millrace"]
        for name in ("agent", "sidecar", "guest"):
            words += ["--ro-bind", str(self.folder / "image" / name), f"/{name}"]
        words += ["--cap-drop", "ALL", "--clearenv", "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin"]
        for name, value in env.items():
            words += ["--setenv", name, value]
        # root in bubblewrap's user namespace would still be root to the kernel
        ordinary = {"user": int(UID), "group": int(UID), "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.Popen([*words, *command], **ordinary)
