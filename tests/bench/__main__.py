"""`make bench`: the budgets as ratios measured in one run, so that a slow machine changes nothing.

Writes `bench-results/bench.json` and `bench-results/bench.png` beside the table. Leave the machine alone
meanwhile: two busy cores measure each other.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import baselines
import languages
import sandbox_alone
import steps
import whole_way
from rows import Row, plot, show_head, shown
from service import ROOT


def main() -> int:
    """Measure everything; returns 0 when it could, for speed is shown and not tested."""
    if not baselines.is_here("bwrap"):
        print("make bench needs bubblewrap: apt-get install bubblewrap")
        return 1
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        show_head()
        rows = [shown(row) for row in measure(Path(folder))]
    steps.show()
    results = ROOT / "bench-results"
    results.mkdir(exist_ok=True)
    measured = [asdict(row) | {"ratio": row.ratio, "met": row.met} for row in rows]
    (results / "bench.json").write_text(json.dumps(measured, indent=2))
    plot(rows, results / "bench.png")
    print(f"\nWritten: {results}/bench.json, {results}/bench.png")
    return 0


def measure(folder: Path) -> Iterator[Row]:
    """Yield the rows of the table."""
    yield from sandbox_alone.measure()
    yield from languages.measure()
    yield from whole_way.measure(folder)


if __name__ == "__main__":
    sys.exit(main())
