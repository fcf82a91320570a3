"""`make bench`: the budgets as ratios measured in one run, so that a slow machine changes nothing.

Writes `bench-results/bench.json` and `bench-results/bench.png` beside the table.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import baselines
from measure import Samples, sample
from service import ROOT, Service, broker, serve

SECONDS = 5.0
CLIENTS = 4


@dataclass(frozen=True)
class Row:
    """One budget: a measured value over its yardstick, and what is allowed."""

    name: str
    value: float
    yardstick: float
    unit: str
    budget: float
    at_least: bool = False
    p99: float | None = None

    @property
    def ratio(self) -> float:
        """Value over yardstick."""
        return self.value / self.yardstick

    @property
    def met(self) -> bool:
        """Whether the budget holds."""
        return self.ratio >= self.budget if self.at_least else self.ratio <= self.budget


def main() -> int:
    """Measure everything; returns 0 always, for speed is shown and not tested."""
    if not baselines.is_here("bwrap"):
        print("make bench needs bubblewrap: apt-get install bubblewrap")
        return 1
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        rows = list(measure(Path(folder)))
    show(rows)
    results = ROOT / "bench-results"
    results.mkdir(exist_ok=True)
    (results / "bench.json").write_text(
        json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows], indent=2)
    )
    plot(rows, results / "bench.png")
    print(f"\nWritten: {results}/bench.json, {results}/bench.png")
    return 0


def measure(folder: Path) -> Iterator[Row]:
    """Yield the rows of the table, yardsticks measured beside the values."""
    bare = baselines.bare_python(30)
    cold = baselines.cold_bubblewrap(20)
    print(f"bare python3 -c: p50 {bare.p50:.1f} ms · cold bubblewrap + python: p50 {cold.p50:.1f} ms")
    with broker(folder / "broker") as url:
        trip = baselines.stream_round_trip(url, 1000)
        print(f"bare redis-py, two streams there and back: p50 {trip.p50:.2f} ms, p99 {trip.p99:.2f} ms")
        with serve(url, folder / "fake", sandbox="fake") as service:
            yield from streams_share(service, trip)
        with serve(url, folder / "local") as service:
            yield from the_whole_way(service, bare, trip)


def streams_share(service: Service, trip: Samples) -> Iterator[Row]:
    """HTTP in to HTTP out with a sandbox that does nothing."""
    way = sample(lambda: service.exec("pass"), 1000, warm=100)
    yield Row("HTTP in to HTTP out, sandbox excluded", way.p50, trip.p50, "ms", 2.5, p99=way.p99)


def the_whole_way(service: Service, bare: Samples, trip: Samples) -> Iterator[Row]:
    """HTTP in to HTTP out with real isolation."""
    time.sleep(2)
    yield Row("memory of an idle serve, broker excluded", service.idle_memory_mb(), 150, "MB", 1.0)
    way = sample(lambda: service.exec("print(1)"), 300, warm=20)
    yield Row("Python print(1) over HTTP, isolated", way.p50, bare.p50, "ms", 0.35, p99=way.p99)
    first = Samples([service.first_byte_delay_ms() for _ in range(20)])
    yield Row("first SSE byte after the first write", first.p50, trip.p50, "ms", 2.0, p99=first.p99)
    ours = throughput(service)
    cold = baselines.cold_throughput(SECONDS, workers=2)
    yield Row("executions per second over HTTP", ours, cold, "/s", 5.0, at_least=True)


def throughput(service: Service) -> float:
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


def show(rows: list[Row]) -> None:
    """Print the table."""
    print(f"\n{'':44}{'value':>12}{'yardstick':>12}{'ratio':>9}{'budget':>10}{'p99':>10}")
    for row in rows:
        budget = f"{'≥' if row.at_least else '≤'} {row.budget:g}"
        p99 = f"{row.p99:.1f}" if row.p99 is not None else ""
        verdict = "met" if row.met else "MISSED"
        print(
            f"{row.name:44}{row.value:>9.1f} {row.unit:2}{row.yardstick:>12.1f}{row.ratio:>9.3f}"
            f"{budget:>10}{p99:>10}  {verdict}"
        )


def plot(rows: list[Row], path: Path) -> None:
    """Draw each ratio as a part of its budget."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = [row.budget / row.ratio if row.at_least else row.ratio / row.budget for row in rows]
    figure, axes = pyplot.subplots(figsize=(9, 0.7 * len(rows) + 1))
    axes.barh([row.name for row in rows], parts, color=["#2a9d8f" if row.met else "#e76f51" for row in rows])
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("part of the budget used (left of the line is within it)")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
