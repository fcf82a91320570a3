"""A handler process as others see it: announced while it consumes, silent when it does not."""

import asyncio

import pytest

from handlers import service as service_module
from handlers.service import HandlerService, ServiceConfig
from infra.errors import Misconfigured


class Presences:
    """Counts how often a handler said that it is alive."""

    def __init__(self):
        self.announced = asyncio.Queue()

    async def announce(self, handler):
        self.announced.put_nowait(handler)

    async def leave(self, _handler_id):
        pass


@pytest.fixture
def service(transport, sandboxes, handler, registry):
    presence = Presences()
    config = ServiceConfig(id="here", slots=4, shutdown_grace_s=1.0)
    return HandlerService(config, transport, sandboxes, handler, registry, presence), presence


async def test_a_handler_is_announced_while_it_consumes_and_only_then(
    service, transport, now, monkeypatch
) -> None:
    """Otherwise an edge would call a house healthy in which nothing is run."""
    monkeypatch.setattr(service_module, "PRESENCE_EVERY_S", 0.01)
    handler, presence = service
    stop = asyncio.Event()
    running = asyncio.create_task(handler.run(stop, now))
    async with asyncio.timeout(20):
        assert (await presence.announced.get()).id == "here"
        with monkeypatch.context() as broken:
            broken.setattr(transport, "is_consuming", lambda: False)
            await asyncio.sleep(0.1)  # one that was on its way may still come
            while not presence.announced.empty():
                presence.announced.get_nowait()
            await asyncio.sleep(0.3)
            assert presence.announced.empty()
        await presence.announced.get()
        stop.set()
        await running


async def test_a_handler_that_can_hear_no_cancellation_ends_with_the_reason(
    service, transport, now, monkeypatch
) -> None:
    """Its supervisor starts it again; going on deaf would look healthy."""

    async def deaf(*_):
        raise Misconfigured("The control stream may not be read.")

    monkeypatch.setattr(transport, "listen", deaf)
    handler, _ = service
    async with asyncio.timeout(20):
        with pytest.raises(Misconfigured, match="may not be read"):
            await handler.run(asyncio.Event(), now)
