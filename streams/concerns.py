"""Which executions a process wants to hear control commands about: asked anew for every command."""

from collections.abc import Callable

from schemas.ids import ExecutionId

Concerns = Callable[[ExecutionId], bool]


def everything(_: ExecutionId) -> bool:
    """Be concerned with every execution."""
    return True
