"""How long to wait before trying again what failed, for each language or kind by itself."""

from collections.abc import Callable
from dataclasses import dataclass

_FIRST_S, _MOST_S = 1.0, 60.0


@dataclass(slots=True)
class _Failing:
    times: int
    until: float
    why: str


class BackOffs:
    """What has failed lately, by name."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failing: dict[str, _Failing] = {}

    def failed(self, name: str, why: str, at_least_s: float = 0.0) -> None:
        """Note a failure. Several while one is waited for are one, as when five pods fail together."""
        now = self._clock()
        failing = self._failing.get(name)
        if failing and now < failing.until:
            failing.why = why
            failing.until = max(failing.until, now + at_least_s)
            return
        times = failing.times + 1 if failing else 1
        wait_s = max(at_least_s, min(_MOST_S, _FIRST_S * 2 ** (times - 1)))
        self._failing[name] = _Failing(times, now + wait_s, why)

    def went_well(self, name: str) -> None:
        """Forget its failures."""
        self._failing.pop(name, None)

    def is_waiting(self, name: str) -> bool:
        """Whether it is too early to try again."""
        failing = self._failing.get(name)
        return failing is not None and self._clock() < failing.until

    def why(self, name: str) -> str:
        """Return why it failed last; empty if it did not."""
        failing = self._failing.get(name)
        return failing.why if failing else ""
