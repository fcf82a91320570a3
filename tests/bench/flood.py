"""A hundred megabytes of output to one SSE reader, against a plain Starlette stream; and who grows."""

import http.client
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rows import Row
from service import KEY, Service, free_port

SIZE = 100_000_000
ROUNDS = 3
"""In turns: each lasts a second, in which the machine may do anything."""
WRITE = 65_536
PROGRAM = f"""
import sys
line = b"0123456789abcde\\n" * {WRITE // 16}
for _ in range({SIZE // WRITE}):
    sys.stdout.buffer.write(line)
"""
PLAIN = f"""
import json, uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

async def events():
    line = "0123456789abcde\\n" * {WRITE // 16}
    for number in range({SIZE // WRITE}):
        yield f"id: {{number}}\\nevent: output\\ndata: {{json.dumps({{'data': line}})}}\\n\\n"

async def stream(request):
    return StreamingResponse(events(), media_type="text/event-stream")

app = Starlette(routes=[Route("/executions", stream, methods=["POST"])])
uvicorn.run(app, port=int(__import__("sys").argv[1]), log_level="error", loop="uvloop", http="httptools")
"""
GROWTH_MB_MAX = 40.0
"""Flat, whatever its size: some batches on their way, and what an allocator keeps."""


def measure(service: Service) -> Iterator[Row]:
    """Yield the rows. `service` keeps so much output of one execution."""
    plain, ours = [], []
    with _plain_server() as port, _growth(service) as grown:
        for _ in range(ROUNDS):
            plain.append(_rate(port))
            ours.append(_rate(service.port))
    middle, bare = statistics.median(ours), statistics.median(plain)
    yield Row("output streamed over SSE, 100 MB", middle, bare, "MB/s", 0.3, at_least=True)
    yield Row("growth of edge and handler meanwhile (RSS)", max(grown), GROWTH_MB_MAX, "MB", 1.0)


def _rate(port: int) -> float:
    """Return the megabytes of output that came in a second, from the first to the last."""
    body = json.dumps({"language": "py", "code": PROGRAM, "limits": {"timeout_s": 100}})
    headers = {"Content-Type": "application/json", "X-API-Key": KEY, "Accept": "text/event-stream"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/executions", body, headers)
    response = connection.getresponse()
    size, begin = 0, 0.0
    while chunk := response.read1(1 << 20):
        begin = begin or time.perf_counter()
        size += len(chunk)
    taken = time.perf_counter() - begin
    connection.close()
    assert size > SIZE, f"{size} bytes came"
    return SIZE / 1e6 / taken


@contextmanager
def _plain_server() -> Iterator[int]:
    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", PLAIN, str(port)])
    try:
        while server.poll() is None and not _accepts(port):
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _growth(service: Service) -> Iterator[list[float]]:
    """Watch the service's own processes; the list says by how many megabytes each grew."""
    watched = service.own_processes()
    before = [process.memory_info().rss for process in watched]
    grown = [0.0] * len(watched)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for index, process in enumerate(watched):
                grown[index] = max(grown[index], (process.memory_info().rss - before[index]) / 1e6)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield grown
    finally:
        over.set()
        watching.join()
