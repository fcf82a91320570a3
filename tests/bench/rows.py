"""One row of the table: a measured value over its yardstick, and what is allowed."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from measure import Samples


@dataclass(frozen=True)
class Row:
    """A budget is on the ratio, so that a slow machine changes nothing."""

    name: str
    value: float
    yardstick: float
    unit: str
    budget: float
    at_least: bool = False
    p99: float | None = None
    best: float | None = None
    """The ratio of the minimums, which suffer least from what else the machine does."""

    @property
    def ratio(self) -> float:
        """Value over yardstick."""
        return self.value / self.yardstick

    @property
    def met(self) -> bool:
        """Whether the budget holds."""
        return self.ratio >= self.budget if self.at_least else self.ratio <= self.budget


def of_samples(name: str, ours: Samples, theirs: Samples, budget: float) -> Row:
    """Return the row of two things that were measured in turns: medians, p99 beside, and minimums."""
    best = min(ours.ms) / min(theirs.ms)
    return Row(name, ours.p50, theirs.p50, "ms", budget, p99=ours.p99, best=best)


def show_head() -> None:
    """Print the table's first line."""
    print(
        f"{'':48}{'p50':>12}{'yardstick':>12}{'ratio':>9}{'of best':>9}{'budget':>10}{'p99':>10}", flush=True
    )


def shown(row: Row) -> Row:
    """Print a row as soon as it is measured, and return it."""
    budget = f"{'≥' if row.at_least else '≤'} {row.budget:g}"
    p99 = f"{row.p99:.1f}" if row.p99 is not None else ""
    best = f"{row.best:.3f}" if row.best is not None else ""
    verdict = "met" if row.met else "MISSED"
    print(
        f"{row.name:48}{row.value:>9.1f} {row.unit:2}{row.yardstick:>12.1f}{row.ratio:>9.3f}{best:>9}"
        f"{budget:>10}{p99:>10}  {verdict}",
        flush=True,
    )
    return row


def one_by_one(rows: AsyncGenerator[Row, None]) -> Iterator[Row]:
    """Yield what an asynchronous generator measures, on a loop of its own."""

    async def following() -> Row | None:
        return await anext(rows, None)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while row := runner.run(following()):
            yield row


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw each ratio as a part of its budget."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = [row.budget / row.ratio if row.at_least else row.ratio / row.budget for row in rows]
    figure, axes = pyplot.subplots(figsize=(10, 0.45 * len(rows) + 1))
    axes.barh([row.name for row in rows], parts, color=["#2a9d8f" if row.met else "#e76f51" for row in rows])
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("part of the budget used (left of the line is within it)")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path)
