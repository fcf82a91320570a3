"""HTTP in to HTTP out: what the streams cost, and what the whole costs with real isolation."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import baselines
import crowd
import flood
import hops
import on_nats
import session_state
import waiting
from measure import Samples, sample
from rows import Row
from service import Service, broker, serve

SECONDS = 5.0
CLIENTS = 4
PAUSE_S = 0.03
"""In which the sandbox before is destroyed and the next is made: latency, not throughput."""


def measure(folder: Path) -> Iterator[Row]:
    """Yield the rows, yardsticks measured beside the values."""
    bare = baselines.bare_python(30)
    with broker(folder / "broker") as url:
        trip = baselines.stream_round_trip(url, 1000)
        print(f"bare redis-py, two streams there and back: p50 {trip.p50:.2f} ms, p99 {trip.p99:.2f} ms")
        with serve(url, folder / "fake", sandbox="fake") as service:
            yield from _streams_share(service, trip)
            hops.show(service, url)
            yield from crowd.measure(service, url)
        yield from on_nats.measure(folder, url)
        with serve(url, folder / "local", MILLRACE_OUTPUT_BYTES_MAX=str(2 * flood.SIZE)) as service:
            yield from _the_whole_way(service, bare, trip)
            yield from flood.measure(service)
    yield from waiting.measure(folder)


def _streams_share(service: Service, trip: Samples) -> Iterator[Row]:
    """A sandbox that does nothing."""
    way = sample(lambda: service.exec('{"do":"exit"}'), 1000, warm=100)
    yield Row("HTTP in to HTTP out, sandbox excluded", way.p50, trip.p50, "ms", 2.0, p99=way.p99)


def _the_whole_way(service: Service, bare: Samples, trip: Samples) -> Iterator[Row]:
    time.sleep(2)
    yield Row("memory of an idle serve, broker excluded", *service.idle_memory_mb(), "MB", 1.0)
    way = sample(lambda: service.exec("print(1)"), 200, warm=20, pause_s=PAUSE_S)
    yield Row("Python print(1) over HTTP, isolated", way.p50, bare.p50, "ms", 0.35, p99=way.p99)
    way = sample(lambda: service.exec("print(1)"), 200)
    yield Row("the same, one upon the other", way.p50, bare.p50, "ms", 0.35, p99=way.p99)
    yield from session_state.measure(service)
    first = Samples([service.first_byte_delay_ms() for _ in range(40)])
    yield Row("first SSE byte after the first write", first.p50, trip.p50, "ms", 2.0, p99=first.p99)
    ours = _throughput(service)
    cold = baselines.cold_throughput(SECONDS, workers=2)
    yield Row("executions per second over HTTP", ours, cold, "/s", 5.0, at_least=True)


def _throughput(service: Service) -> float:
    """Return executions per second with `CLIENTS` clients for `SECONDS`."""
    until = time.perf_counter() + SECONDS
    counts = [0] * CLIENTS

    def work(index: int) -> None:
        mine = service.another()
        while time.perf_counter() < until:
            mine.exec("print(1)")
            counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS
