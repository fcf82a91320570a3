"""A real S3 server, and a way to it that can be made bad."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from infra.objects import S3Config
from tests.brokers import free_port

ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"


class S3Process:
    """One server process on a free loopback port, its objects in a folder of its own or in `folder`."""

    def __init__(self, binary: Path, folder: Path | None = None, *options: str) -> None:
        self._binary = str(binary)
        self._options = options
        self._own = Path(tempfile.mkdtemp(prefix="millrace-test-"))
        self._folder = folder or self._own / "objects"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def config(self) -> S3Config:
        """How to reach it; the bucket is made on first use."""
        return S3Config(
            endpoint=f"127.0.0.1:{self.port}",
            bucket="test",
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            attempts_max=2,
        )

    def start(self) -> None:
        """Start it with whatever objects it had, and wait until it listens."""
        (self._folder / "sidecar").mkdir(parents=True, exist_ok=True)
        (self._folder / "buckets").mkdir(parents=True, exist_ok=True)
        # It keeps attributes beside the objects: not every file system has extended ones.
        where = ["posix", "--sidecar", str(self._folder / "sidecar"), str(self._folder / "buckets")]
        command = [self._binary, "--quiet", "--port", f"127.0.0.1:{self.port}", *self._options, *where]
        environ = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        with (self._own / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environ, cwd=self._own)
        deadline = time.monotonic() + 20
        while not self._listens():
            assert self._process.poll() is None, (self._own / "log").read_text()
            assert time.monotonic() < deadline, "the S3 server does not listen"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def drop_bucket(self, bucket: str) -> None:
        """Remove a bucket with all it holds, as an operator might."""
        shutil.rmtree(self._folder / "buckets" / bucket)

    def close(self) -> None:
        """End it and remove what it kept."""
        self.kill()
        shutil.rmtree(self._own, ignore_errors=True)

    def _listens(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0


class BadWay:
    """A TCP proxy on loopback: while `open` is clear it takes everything and passes nothing on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.open = asyncio.Event()
        self.open.set()
        self.passed = b""
        """The first 4 KiB, of both directions."""

    @contextlib.asynccontextmanager
    async def leading_to(self, config: S3Config) -> AsyncIterator[S3Config]:
        """Yield `config` by this way."""
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield replace(config, endpoint=f"127.0.0.1:{port}")
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._lead(reader, writer)))

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.closing(sink), contextlib.suppress(ConnectionError):
            while data := await source.read(64 * 1024):
                self.passed += data[: 4096 - len(self.passed)]
                await self.open.wait()
                sink.write(data)
                await sink.drain()
