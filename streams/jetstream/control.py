"""Hearing control commands: every handler process hears all of them, and the stream is the mail.

A command about an execution is published under its id, where it stays for the handler that takes the
execution later, and is told live to all that listen. What an outsider published without naming the
execution in the subject is put there by one of the handlers, once.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from infra.nats_words import Message
from infra.tasks import end_tasks
from schemas.commands import CancelExecution, ControlCommand, EndSession
from schemas.ids import EXECUTION_ID_RULE, ExecutionId, is_execution_id
from schemas.wire import WireFault, decode_control, encode
from streams.delivery import DeadLetter, hear, log
from streams.jetstream.connection import AWAY
from streams.jetstream.dead_letters import bury
from streams.jetstream.link import Link
from streams.jetstream.pulling import Consuming, Puller
from streams.jetstream.streams import COMMANDS_MAX, NS
from streams.jetstream.wire import MESSAGE_ID, Refused, Stored, handed, stored
from streams.protocol import Control, OnControl
from streams.signal import Signal

MAILERS = "mailers"
MAILING_S = 10.0
AT_ONCE = 32
RECHECK_S = 5.0
READ_MAX = 256


async def send_control(link: Link, command: ControlCommand) -> None:
    """Publish a command where it belongs. Raises `Unavailable`."""
    name = secrets.token_hex(8)
    await link.publish_on(lambda: _mail(link, command, encode(command), name))


async def read_mail(link: Link, execution_id: ExecutionId) -> list[Control]:
    """Return the commands in an execution's mail, oldest first."""
    found = await link.read("CONTROL", link.subjects.control_of(execution_id), 0, COMMANDS_MAX)
    return [
        Control(str(message.seq), decode_control(message.data)) for message in found if _is_readable(message)
    ]


class ControlReader:
    """Hands every command from now on to `on_control`, and does its part of the mailing.

    A cancelled execution that is parked is woken, for it need not wait for its turn.
    """

    def __init__(
        self, link: Link, on_control: OnControl, wake: Callable[[ExecutionId], Awaitable[None]]
    ) -> None:
        self._link = link
        self._on_control = on_control
        self._wake = wake
        self._last = -1
        """Place of the newest command that was handed on; -1 until it is known where to begin."""
        self._told: asyncio.Queue[Stored | None] = asyncio.Queue()
        """What came live, or None to look into the stream."""
        self._generation = -1

    async def run(self) -> None:
        """Listen for ever, whatever the broker does."""
        mailer = Mailer(self._link)
        mailing = Puller(self._link, consuming(self._link), mailer)
        tasks = [asyncio.create_task(work.run(), name="mailing") for work in (mailing, mailer)]
        backoff = self._link.backoff()
        try:
            while True:
                try:
                    await self._listen()
                    backoff.reset()
                except (*AWAY, Refused) as error:
                    await self._link.mend(error)
                    await backoff.pause(error)
        finally:
            await end_tasks(*tasks)
            mailing.forget()

    async def _listen(self) -> None:
        """Hand on what comes next; look into the stream when nothing does, or something is missing."""
        await self._subscribe()
        try:
            async with asyncio.timeout(RECHECK_S):
                told = await self._told.get()
        except TimeoutError:
            told = None
        if told is not None and told.seq == self._last + 1:
            await self._hand_on(told)
        elif told is None or told.seq > self._last:
            await self._read()

    async def _subscribe(self) -> None:
        client = await self._link.connected()
        if self._generation == self._link.generation:
            return
        if self._last < 0:
            self._last = int((await self._link.info("CONTROL"))["state"]["last_seq"])
        client.subscribe(self._link.subjects.below("live.control"), self._tell)
        self._generation = self._link.generation
        self._told.put_nowait(None)

    def _tell(self, message: Message) -> None:
        self._told.put_nowait(stored(message))

    async def _read(self) -> None:
        subjects = self._link.subjects.below("control")
        while found := await self._link.read("CONTROL", subjects, self._last + 1, READ_MAX):
            for message in found:
                await self._hand_on(message)

    async def _hand_on(self, message: Stored) -> None:
        self._last = message.seq
        if not _is_readable(message):
            return  # an outsider wrote it there; who reads the mail skips it too
        control = Control(str(message.seq), decode_control(message.data))
        if isinstance(control.command, CancelExecution):
            await self._wake(control.command.execution_id)
        await hear(self._on_control, control)


class Mailer:
    """Puts commands that name no execution in their subject into the mail of theirs."""

    def __init__(self, link: Link) -> None:
        self.changed = Signal()
        self.draining = asyncio.Event()
        self._link = link
        self._taken: asyncio.Queue[Message] = asyncio.Queue()
        self._unfinished = 0

    @property
    def room(self) -> int:
        return AT_ONCE - self._unfinished

    async def run(self) -> None:
        """Mail for ever, one after the other: whoever published several wants them in their order."""
        while True:
            message = await self._taken.get()
            try:
                await self._put_away(message)
            except (*AWAY, Refused) as error:  # it is handed out again
                log.debug("command_not_mailed", reason=str(error))
            finally:
                self._unfinished -= 1
                self.changed.notify()

    async def choose(self, wanted: int) -> int:
        return wanted

    def missed(self, count: int) -> None:
        """They are asked for again."""

    def take(self, message: Message) -> None:
        self._unfinished += 1
        self._taken.put_nowait(message)

    async def _put_away(self, message: Message) -> None:
        about = handed(message.reply)
        try:
            command = _read(message.data)
        except WireFault as fault:
            reason = f"{fault.field}: {fault.message}" if fault.field else fault.message
            entry, now = str(about.seq), datetime.now(UTC)
            await bury(self._link, DeadLetter(message.data, reason, message.subject, entry, now))
        else:
            name = f"control-{about.seq}"
            await self._link.persist(lambda: _mail(self._link, command, message.data, name))
        await self._link.ask(about.tell, b"+ACK")

    async def give_back(self, message: Message) -> None:
        await self._link.send(message.reply, b"-NAK")


def consuming(link: Link) -> Consuming:
    """Return the consumer all handlers share."""
    config = {"ack_wait": round(MAILING_S * NS), "filter_subject": link.subjects.control}
    return Consuming("CONTROL", MAILERS, config)


async def _mail(link: Link, command: ControlCommand, body: bytes, name: str) -> None:
    subjects = link.subjects
    if isinstance(command, EndSession):
        subject = subjects.control_of_sessions
    else:
        subject = subjects.control_of(command.execution_id)
    await link.publish(subject, body, {MESSAGE_ID: name})


def _read(body: bytes) -> ControlCommand:
    command = decode_control(body)
    if not isinstance(command, EndSession) and not is_execution_id(command.execution_id):
        raise WireFault(f"must be {EXECUTION_ID_RULE}", "execution_id")
    return command


def _is_readable(message: Stored) -> bool:
    try:
        decode_control(message.data)
    except WireFault:
        return False
    return True
