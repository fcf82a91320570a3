"""What can be wrong with a configuration, as data; and the one error that carries all of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing an operator must change."""

    name: str
    """The setting, or the line of the `.env` file."""
    value: str
    """As given, secrets masked."""
    problem: str
    """A sentence without the name: 'is not ...', 'must be ...'."""
    nearest: str = ""
    """The known name this one may have been meant for."""

    def __str__(self) -> str:
        shown = f"={self.value!r}" if self.value else ""
        hint = f" Did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.name}{shown} {self.problem}.{hint}"


class BadSettings(Misconfigured):
    """The settings cannot be used; the message lists every fault, one a line."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        many = f"{len(faults)} faults" if len(faults) != 1 else "1 fault"
        lines = "\n".join(f"  - {fault}" for fault in faults)
        super().__init__(f"The configuration has {many}:\n{lines}")
