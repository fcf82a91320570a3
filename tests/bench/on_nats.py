"""The streams' share on NATS JetStream, against a bare JetStream round trip."""

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hops
import nats
import uvloop
from measure import Samples, sample
from rows import Row
from service import serve


def measure(folder: Path, redis_url: str) -> Iterator[Row]:
    """Yield the row, if there is a nats-server."""
    beside = Path(sys.executable).with_name("nats-server")
    binary = str(beside) if beside.exists() else shutil.which("nats-server")
    if binary is None:
        print("no nats-server here: NATS is not measured")
        return
    with _server(binary, folder / "nats") as url:
        trip = round_trip(url, 1000)
        print(
            f"bare nats-py, two JetStream streams there and back: p50 {trip.p50:.2f}, p99 {trip.p99:.2f} ms"
        )
        settings = {"MILLRACE_TRANSPORT": "nats", "NATS_URL": url}
        with serve(redis_url, folder / "fake-on-nats", sandbox="fake", **settings) as service:
            way = sample(lambda: service.exec('{"do":"exit"}'), 1000, warm=100)
        hops.show_on_nats(url)
    yield Row("the same on NATS JetStream", way.p50, trip.p50, "ms", 2.5, p99=way.p99)


@contextmanager
def _server(binary: str, folder: Path) -> Iterator[str]:
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "nats.conf"
    limits = f'store_dir: "{folder}/store", max_mem: 64MB, max_file: 1GB'
    config.write_text(f"listen: 127.0.0.1:{port}\njetstream {{ {limits} }}\n")
    process = subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def round_trip(url: str, count: int) -> Samples:
    """One message stored and handed out there, and one back, between two processes, in bare nats-py."""
    echo = subprocess.Popen([sys.executable, str(Path(__file__).with_name("echo_nats.py")), url])
    try:
        return uvloop.run(_there_and_back(url, count))
    finally:
        echo.terminate()
        echo.wait()


async def _there_and_back(url: str, count: int) -> Samples:
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="BENCH_THERE", subjects=["bench.there"], retention="workqueue")
    await stream.add_stream(name="BENCH_BACK", subjects=["bench.back"], max_msgs=1000)
    back = await stream.subscribe("bench.back", ordered_consumer=True)
    await asyncio.sleep(1)
    taken = []
    for _ in range(count + 100):
        begin = time.perf_counter()
        await stream.publish("bench.there", b'{"id":"1"}')
        await back.next_msg(timeout=30)
        taken.append((time.perf_counter() - begin) * 1000)
    for name in ("BENCH_THERE", "BENCH_BACK"):
        await stream.delete_stream(name)
    await client.close()
    return Samples(taken[100:])
