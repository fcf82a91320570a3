"""The network among the servers of one arrangement and its clients, which a test breaks around the primary.

Clients of a cluster, and of sentinels, connect to whatever the servers tell them, and so do the servers.
So a proxy stands at each address that is told. Each server connects from an address of its own: what
befalls clients need not befall other servers, and one server can be cut off from all the others, both ways.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Literal, Self

from tests.brokers import until
from tests.proxy import Proxy, Trouble, Wire, Wires
from tests.redis_servers import Arrangement, Server

Whom = Literal["clients", "everybody"]


class RedisNetwork:
    """Breaks around the machine the primary is on that has `key`, for clients alone or for everybody.

    Clients are cut off first, and other servers once they have all that was written: what a failover may lose
    otherwise is no matter of the network (docs/delivery.md).
    """

    def __init__(self, many: Arrangement, key: str, whom: Whom) -> None:
        self._many, self._key, self._whom = many, key, whom
        self._proxies: list[tuple[Server, Proxy]] = []
        self._broken: list[Wires] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        for server in self._many.servers:
            for proxy in (Proxy(server.port, server.told_port), Proxy(server.bus_port, server.told_bus_port)):
                self._proxies.append((server, await self._stack.enter_async_context(proxy)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def suffer(self, trouble: Trouble) -> None:
        """Let something befall the wires of the primary, whichever it is now."""
        primary = await asyncio.to_thread(self._many.primary_of, self._key)
        machine = self._many.machine_of(primary)
        await self._befall(
            trouble, Wires(*(proxy.wire() for server, proxy in self._proxies if server in machine))
        )
        if self._whom == "everybody":
            copied = lambda: self._many.has_copies(primary)  # noqa: E731
            await asyncio.to_thread(until, copied, "replicas to have everything")
            await self._befall(trouble, Wires(*self._among_servers(machine)))

    def heal(self, *, forget: bool = True) -> None:
        """Mend what was broken."""
        while self._broken:
            self._broken.pop().heal(forget=forget)

    async def _befall(self, trouble: Trouble, wires: Wires) -> None:
        self._broken.append(wires)
        await wires.suffer(trouble)

    def _among_servers(self, machine: set[Server]) -> Iterator[Wire]:
        """Yield the wires between a machine and others, of those who connect to it and of its own."""
        for server, proxy in self._proxies:
            for other in self._many.servers:
                if (server in machine) != (other in machine):
                    yield proxy.wire(other.host)
