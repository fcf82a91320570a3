"""NATS away, back, slow to answer, half done or somebody else: accepted work goes on."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from infra.errors import RequestRefused, Unavailable
from infra.nats import NatsConfig, NatsTls
from schemas.ids import ExecutionId
from streams.jetstream import JetStreamTransport, link
from streams.protocol import Begun, Ended, HeldElsewhere
from tests.nats_servers import NatsProcess
from tests.streams.conftest import PATIENT, SHORT, NatsWorld
from tests.streams.helpers import (
    as_started,
    begin,
    command,
    consuming,
    finished,
    lease_of,
    output,
    run_halted,
    run_to_the_end,
    submit,
    take,
    taking,
    types,
    whole_log,
)

JOB = ExecutionId("job-1")


@pytest.mark.parametrize("step", ["results", "$JS.ACK"])
async def test_a_crash_between_log_and_acknowledgement_is_healed(
    nats_world: NatsWorld, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The next `begin` completes what was left undone, and the result is there once."""
    edge, dying, alive = [await nats_world.transport(SHORT) for _ in range(3)]
    reply_to = f"{nats_world.config.prefix}backend:answers"
    await submit(edge, command(reply_to=reply_to))
    lease = await lease_of(dying, await take(dying))
    dying_link: Any = dying._link  # type: ignore[attr-defined]
    really = dying_link.ask

    async def ask(subject: str, *more: Any) -> Any:
        if step in subject:
            raise SystemError("killed here")
        return await really(subject, *more)

    monkeypatch.setattr(dying_link, "ask", ask)
    with pytest.raises(SystemError):
        await dying.finish(lease, [], finished(JOB))
    async with taking(alive) as deliveries:
        assert isinstance(await begin(alive, await deliveries.get()), Ended)
    assert [result.execution_id for result in await nats_world.results()] == [JOB]
    assert len(await nats_world.replies(reply_to)) >= 1
    depth = await edge.depth()
    assert (depth.waiting, depth.pending) == (0, 0)


async def test_events_carry_the_record_until_the_lease_is_renewed(nats_world: NatsWorld) -> None:
    """Taken with `started`, a lease has no message of its own; it is in force, and known, all the same."""
    edge, handler, other = [await nats_world.transport(PATIENT) for _ in range(3)]
    await submit(edge, command())
    delivery = await take(handler)
    begun = await begin(handler, delivery, as_started(JOB))
    assert isinstance(begun, Begun) and begun.has_started
    await handler.append(begun.lease, [output(begun.lease, "1"), output(begun.lease, "2", after=1)])
    assert await _messages_of_record(nats_world) == 0
    assert isinstance(await begin(other, delivery), HeldElsewhere)
    record = await edge.record(JOB)
    assert record is not None and (record.status, record.language, record.seq) == ("running", "py", 4)
    await handler.renew(begun.lease)
    assert await _messages_of_record(nats_world) == 1
    await handler.append(begun.lease, [output(begun.lease, "3")])
    assert isinstance(await begin(other, delivery), HeldElsewhere)
    await handler.finish(begun.lease, [], finished(JOB))
    record = await edge.record(JOB)
    assert record is not None and (record.status, record.seq) == ("finished", 6)
    assert (await submit(edge, command(code="print(2)"))).result == "conflict"


async def _messages_of_record(world: NatsWorld) -> int:
    return len(await world.all("LOG", world.names.record(JOB)))


async def test_a_request_larger_than_a_message_is_refused_with_the_limit(nats_world: NatsWorld) -> None:
    """The server's `max_payload` says how much."""
    edge = await nats_world.transport()
    with pytest.raises(RequestRefused) as refused:
        await submit(edge, command(code="#" * 1_100_000))
    assert refused.value.limit == 1024 * 1024


# Who speaks to whom


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a server that does not answer."""
    monkeypatch.setattr(link, "SILENT_S", 0.5)


@pytest.fixture
def certificates(tmp_path: Path) -> "Certificates":
    """An authority, a server's certificate and a client's."""
    return Certificates(tmp_path)


class Certificates:
    """Files of a private authority."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)
        for name, issued in (
            ("server", authority.issue_cert("127.0.0.1")),
            ("client", authority.issue_cert("someone@example.org")),
        ):
            issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
            issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        self.folder = folder

    @property
    def server_lines(self) -> str:
        """For a server that wants certificates from its clients, and a user."""
        folder = self.folder
        return (
            f'tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key", '
            f'ca_file: "{self.ca}", verify: true }}\n'
            "authorization { user: millrace, password: secret }"
        )

    @property
    def client(self) -> NatsTls:
        """For a client of that server."""
        return NatsTls(self.ca, str(self.folder / "client.pem"), str(self.folder / "client.key"))


async def test_work_is_done_over_tls_with_certificates_and_a_user(
    own_nats: NatsProcess, certificates: Certificates
) -> None:
    """A private authority, both sides verified."""
    own_nats.more = certificates.server_lines
    own_nats.start()
    config = replace(own_nats.config, tls=certificates.client, user="millrace", password="secret")
    transport = JetStreamTransport(config, PATIENT, name="test")
    await transport.start()
    async with consuming(transport, lambda delivery: run_to_the_end(transport, delivery)):
        await submit(transport, command())
        assert types(await whole_log(transport, JOB))[-1] == "finished"
    await transport.close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wrong"}, "authorization"),
        ({"tls": NatsTls()}, "certificate"),
        ({"tls": None}, "127.0.0.1"),
    ],
    ids=["wrong password", "unknown authority", "no client certificate"],
)
async def test_who_is_refused_is_told_why(
    own_nats: NatsProcess, certificates: Certificates, change: dict[str, Any], says: str
) -> None:
    """And not kept waiting for ever, as the client's own first connection would be."""
    own_nats.more = certificates.server_lines
    own_nats.start()
    config = replace(own_nats.config, tls=certificates.client, user="millrace", password="secret")
    await refused_with(replace(config, **change), says)


@pytest.mark.usefixtures("impatient")
async def test_nothing_is_told_to_a_server_that_does_not_speak_tls(own_nats: NatsProcess) -> None:
    """Whoever asked for TLS does not send a password in clear text because the server has none."""
    own_nats.start()
    context = ssl.create_default_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    config = replace(own_nats.config, tls=NatsTls(), user="millrace", password="secret")
    await refused_with(config, "does not speak tls")


async def refused_with(config: NatsConfig, says: str) -> None:
    """Ask until it is known why nobody answers; where we looked is told each time, the password never."""
    transport = JetStreamTransport(config, PATIENT, name="test")
    message = ""
    async with asyncio.timeout(60):
        while says not in message.lower():
            with pytest.raises(Unavailable) as refused:
                await transport.ping()
            message = refused.value.message
            assert "127.0.0.1" in message
            assert "secret" not in message
    await transport.close()


async def test_a_server_that_hangs_is_away_and_everything_goes_on_when_it_wakes(
    own_nats: NatsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stays open all the while; nobody waits on it for ever, and what was sent counts once."""
    own_nats.start()
    world = NatsWorld(own_nats.config)
    edge, handler = await world.transport(), await world.transport()
    written, asleep = asyncio.Event(), asyncio.Event()

    async with consuming(handler, lambda delivery: run_halted(handler, delivery, written, asleep, 20)):
        reading = asyncio.create_task(whole_log(edge, JOB))
        await submit(edge, command())
        await written.wait()
        await asyncio.to_thread(own_nats.stop)
        asleep.set()
        try:
            with monkeypatch.context() as impatient, pytest.raises(Unavailable):
                impatient.setattr(link, "SILENT_S", 0.5)
                await edge.ping()
        finally:
            own_nats.go_on()
        async with asyncio.timeout(60):
            assert [event.seq for event in await reading] == list(range(1, 24))
    assert len(await world.results()) == 1
    await world.close()
