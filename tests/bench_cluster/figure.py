"""One line of the table, and how what it shows is timed."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One line of the table; `budget` in the unit of `value`, None where there is none."""

    name: str
    value: float
    unit: str
    budget: float | None = None

    def __str__(self) -> str:
        met = "" if self.budget is None else "met" if self.value <= self.budget else "MISSED"
        budget = "" if self.budget is None else f"≤ {self.budget:g}"
        return f"{self.name:58}{self.value:>10.2f} {self.unit:6}{budget:6} {met}".rstrip()


async def timed(act: Callable[[], Awaitable[T]]) -> tuple[float, T]:
    """Return the milliseconds that it took, and what it gave."""
    began = time.perf_counter()
    result = await act()
    return (time.perf_counter() - began) * 1000, result
