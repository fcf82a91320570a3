"""The operators' side of the transport in memory."""

from streams.dead_letters import KeptLetter
from streams.memory.broker import MemoryBroker


class MemoryDeadLetters:
    """Letters are known by the order in which they came."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def dead_letters(self, after: str = "", count: int = 100) -> list[KeptLetter]:
        kept = [KeptLetter(name, letter) for name, letter in self._broker.dead.items()]
        return [one for one in kept if not after or int(one.id) > int(after)][:count]

    async def dead_letter(self, letter_id: str) -> KeptLetter | None:
        letter = self._broker.dead.get(letter_id)
        return KeptLetter(letter_id, letter) if letter else None

    async def drop_dead_letter(self, letter_id: str) -> bool:
        return self._broker.dead.pop(letter_id, None) is not None
