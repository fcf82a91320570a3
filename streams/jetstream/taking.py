"""Taking entries for the slots of one handler: in the order of publication, or what was made ready.

Both share the slots: what was made ready for this handler has its place among them kept.
"""

import asyncio

from infra.nats_words import Message
from infra.tasks import end_tasks
from streams.delivery import Intake
from streams.jetstream.fairness import FairPicker
from streams.jetstream.link import Link
from streams.jetstream.pulling import Consuming, Puller
from streams.jetstream.requests import entry_of, publish, published_before
from streams.jetstream.streams import NS
from streams.jetstream.wire import handed
from streams.jetstream.writing import JetStreamDelivery
from streams.signal import Signal
from streams.topology import HANDLERS_GROUP

READY_GROUP = "ready"
READY_PULL_S = 1.0


class Slots:
    """The slots of a handler, and how many of them are kept for what was made ready."""

    def __init__(self, link: Link, intake: Intake, draining: asyncio.Event) -> None:
        self.intake = intake
        self.draining = draining
        self.kept = 0
        self.picker = FairPicker(link)
        self.made_ready = Signal()
        self._link = link

    def start(self, message: Message) -> None:
        """Begin the delivery of one entry."""
        about = handed(message.reply)
        entry = entry_of(about.time, about.seq, message.headers)
        if entry in self.intake.entries:  # one of our own, silent because the broker was away
            return
        published = published_before(message.headers) or about.time
        body, subject = message.data, self._link.subjects.requests
        told, now = message.headers, asyncio.get_running_loop().time()
        self.intake.start(
            JetStreamDelivery(entry, subject, body, about.deliveries, published, about.tell, told, now)
        )
        self.picker.may_wait = self.picker.may_wait or not self.intake.free

    async def give_back(self, message: Message) -> None:
        """Publish an entry anew: it waits again. One that is only refused would count as pending."""
        about = handed(message.reply)
        entry = entry_of(about.time, about.seq, message.headers)
        published = published_before(message.headers) or about.time
        await publish(self._link, message.data, f"back-{about.seq}-{about.deliveries}", published, entry)
        await self._link.ask(about.tell, b"+ACK")


class AsPublished:
    """Takes entries in the order of publication, where nothing has to wait or all of it is of one lane."""

    def __init__(self, slots: Slots) -> None:
        self.draining = slots.draining
        self._slots = slots

    @property
    def changed(self) -> Signal:
        return self._slots.intake.changed

    @property
    def room(self) -> int:
        return self._slots.intake.free - self._slots.kept

    async def choose(self, wanted: int) -> int:
        slots = self._slots
        if not slots.picker.may_wait:
            return wanted
        moved = await slots.picker.pick(wanted)
        slots.kept += moved
        slots.made_ready.notify()
        return wanted - moved

    def missed(self, count: int) -> None:
        """They are asked for again."""

    def take(self, message: Message) -> None:
        self._slots.start(message)

    async def give_back(self, message: Message) -> None:
        await self._slots.give_back(message)


class MadeReady:
    """Takes what was made ready, by this handler or by one that died since."""

    def __init__(self, slots: Slots) -> None:
        self.draining = slots.draining
        self._slots = slots

    @property
    def changed(self) -> Signal:
        return self._slots.made_ready

    @property
    def room(self) -> int:
        return self._slots.kept

    async def choose(self, wanted: int) -> int:
        return wanted

    def missed(self, count: int) -> None:
        self._slots.kept = max(0, self._slots.kept - count)
        self._slots.intake.changed.notify()

    def take(self, message: Message) -> None:
        self._slots.kept = max(0, self._slots.kept - 1)
        self._slots.start(message)

    async def give_back(self, message: Message) -> None:
        await self._slots.give_back(message)


class Taking:
    """Everything that fills the slots of a handler."""

    def __init__(self, link: Link, intake: Intake, draining: asyncio.Event) -> None:
        self._link = link
        self._slots = Slots(link, intake, draining)
        self._pullers = (
            Puller(link, _consuming(link, HANDLERS_GROUP, link.subjects.requests), AsPublished(self._slots)),
            Puller(
                link, _consuming(link, READY_GROUP, link.subjects.ready, READY_PULL_S), MadeReady(self._slots)
            ),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take."""
        self._tasks = [asyncio.create_task(puller.run(), name="requests") for puller in self._pullers]
        self._tasks.append(asyncio.create_task(self._look_for_abandoned(), name="abandoned"))

    @property
    def succeeds(self) -> bool:
        """Whether the server answered when it was last asked for requests."""
        return all(puller.succeeds for puller in self._pullers)

    async def drain(self) -> None:
        """Take nothing more and give back what is on its way."""
        await end_tasks(*self._tasks)
        await asyncio.gather(*(puller.drain() for puller in self._pullers))

    async def abandon(self) -> None:
        """Stop at once."""
        await end_tasks(*self._tasks)
        for puller in self._pullers:
            puller.forget()

    async def _look_for_abandoned(self) -> None:
        """Ask now and then for what was made ready and whose handler died."""
        while True:
            await asyncio.sleep(self._link.policy.heartbeat_s)
            if not self._slots.kept and self._slots.intake.free:
                self._slots.kept = 1
                self._slots.made_ready.notify()


def _consuming(link: Link, name: str, subject: str, expires_s: float = 30.0) -> Consuming:
    """Return a consumer that all handlers share. What nobody keeps for a lease is handed out again."""
    config = {"ack_wait": round(link.policy.lease_s * NS), "filter_subject": subject}
    return Consuming("REQUESTS", name, config, expires_s)
