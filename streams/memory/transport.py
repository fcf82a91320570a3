"""One simulated process's connection to a broker in memory, both sides of it."""

from streams.memory.broker import MemoryBroker
from streams.memory.consumer import MemoryConsumer
from streams.memory.dead_letters import MemoryDeadLetters
from streams.memory.publisher import MemoryPublisher
from streams.memory.steps import Between, at_once
from streams.protocol import DeliveryPolicy


class MemoryTransport(MemoryPublisher, MemoryConsumer, MemoryDeadLetters):
    """The transport's promises, kept in memory."""

    def __init__(self, broker: MemoryBroker, policy: DeliveryPolicy, between: Between = at_once) -> None:
        MemoryPublisher.__init__(self, broker, policy, between)
        MemoryConsumer.__init__(self, broker, policy, between)
        MemoryDeadLetters.__init__(self, broker)

    async def start(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        self.drain()
