"""The transport inside one process: for tests and simulation. No I/O, and time only from its clock."""

from streams.memory.broker import MemoryBroker
from streams.memory.transport import MemoryTransport

__all__ = ["MemoryBroker", "MemoryTransport"]
