"""Every REDIS_* setting has an effect on a real server: right it lets in, wrong it keeps out."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from infra.connect import redis_config
from infra.errors import Unavailable
from infra.redis import build_redis, commanding, ping
from infra.settings import Settings
from tests.brokers import running
from tests.conftest import Arranged
from tests.proxy import Proxy
from tests.redis_servers import PASSWORD, Sentinels, Standalone

pytestmark = pytest.mark.brokers
Read = Callable[..., Settings]
EVERYWHERE = [
    f"{how}{mode}" for how in ("", "secure ") for mode in ("standalone", "cluster", "sentinel")
]  # fmt: skip


async def reached(read: Read, environment: dict[str, str]) -> bool:
    """Whether a client with these settings gets an answer."""
    config = redis_config(read(**environment))
    client = build_redis(config)
    try:
        await ping(client.ping(), config, within_s=20)
    except Unavailable:
        return False
    finally:
        await client.aclose()
    return True


@pytest.mark.parametrize("name", EVERYWHERE)
async def test_the_settings_of_an_operator_reach_it(name: str, arranged: Arranged, read: Read) -> None:
    """Each arrangement, plain with a password and over TLS as an ACL user."""
    assert await reached(read, arranged(name).environment())


@pytest.mark.parametrize("name", EVERYWHERE)
async def test_more_commands_than_connections_wait_for_their_turn(
    name: str, arranged: Arranged, read: Read
) -> None:
    """The library refuses the one too many, in all modes but one."""
    config = redis_config(read(**arranged(name).environment(REDIS_MAX_CONNECTIONS="4")))
    assert config.connections_max == 4
    client = build_redis(replace(config, connection_wait_s=60))  # this machine may be busy
    held = asyncio.gather(*(client.get("nothing") for _ in range(200)))
    assert await asyncio.wait_for(held, 60) == [None] * 200
    await client.aclose()


WRONG = [
    ("standalone", {"REDIS_URL": "redis://:wrong@127.0.0.1:{port}/0"}),
    ("cluster", {"REDIS_PASSWORD": "wrong"}),
    ("cluster", {"MILLRACE_REDIS_USERNAME": "somebody"}),
    ("cluster", {"REDIS_CLUSTER_NODES": "127.0.0.1:1"}),
    ("sentinel", {"REDIS_PASSWORD": "wrong"}),
    ("sentinel", {"REDIS_SENTINEL_PASSWORD": "wrong"}),
    ("sentinel", {"REDIS_SENTINEL_MASTER": "another"}),
    ("sentinel", {"REDIS_SENTINEL_NODES": "127.0.0.1:1"}),
    ("secure standalone", {"REDIS_TLS_CA_CERT_FILE": ""}),
    ("secure standalone", {"REDIS_TLS_CERT_FILE": "", "REDIS_TLS_KEY_FILE": ""}),
    ("secure standalone", {"MILLRACE_REDIS_USERNAME": "somebody", "REDIS_URL": "rediss://localhost:{port}"}),
    ("secure cluster", {"REDIS_TLS_CA_CERT_FILE": ""}),
    ("secure cluster", {"REDIS_TLS_CERT_FILE": "", "REDIS_TLS_KEY_FILE": ""}),
    ("secure cluster", {"REDIS_TLS_ENABLED": "false"}),
    ("secure sentinel", {"REDIS_TLS_CA_CERT_FILE": ""}),
    ("secure sentinel", {"REDIS_TLS_CERT_FILE": "", "REDIS_TLS_KEY_FILE": ""}),
    ("secure sentinel", {"REDIS_TLS_ENABLED": "false"}),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG)
async def test_one_wrong_setting_keeps_it_out(
    name: str, wrong: dict[str, str], arranged: Arranged, read: Read
) -> None:
    """So each of them has an effect."""
    arrangement = arranged(name)
    port = arrangement.servers[0].port
    filled = {key: value.format(port=port) for key, value in wrong.items()}
    assert not await reached(read, arrangement.environment(**filled))


async def test_host_port_and_password_reach_a_server_without_a_url(arranged: Arranged, read: Read) -> None:
    """And so does a database of one's own."""
    [server] = arranged("standalone").servers
    environment = {"REDIS_HOST": "localhost", "REDIS_PORT": str(server.port), "REDIS_PASSWORD": PASSWORD}
    first, fifth = [build_redis(redis_config(read(**environment, REDIS_DB=db))) for db in ("0", "5")]
    await first.set("test-database", "first")
    assert await fifth.get("test-database") is None
    await first.delete("test-database")
    await first.aclose()
    await fifth.aclose()
    assert not await reached(read, environment | {"REDIS_PORT": "1"})
    assert not await reached(read, environment | {"REDIS_HOST": "127.0.0.255", "REDIS_PORT": "1"})


async def test_a_client_lets_go_of_a_server_that_says_no_goodbye(arranged: Arranged) -> None:
    """TLS would wait for one, and take its absence for an error."""
    arrangement = arranged("secure standalone")
    [server] = arrangement.servers
    config = arrangement.config()
    async with Proxy(server.port) as proxy:
        assert config.url is not None
        client = build_redis(replace(config, url=config.url.replace(f":{server.port}/", f":{proxy.port}/")))
        await client.ping()
        await proxy.wire().silence()
        await client.aclose()


async def test_what_a_url_leaves_open_is_filled_in_from_the_settings(arranged: Arranged, read: Read) -> None:
    """Password and database."""
    [server] = arranged("standalone").servers
    url = f"redis://127.0.0.1:{server.port}"
    config = redis_config(read(REDIS_URL=url, REDIS_PASSWORD=PASSWORD, REDIS_DB="5"))
    client = build_redis(config)
    assert (await client.client_info())["db"] == 5
    await client.aclose()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Standalone]:
    """A server whose certificate names another host."""
    with running(Standalone(secure=True, elsewhere=True)) as server:
        yield server


@pytest.mark.parametrize(
    ("settings", "lets_in"),
    [
        ({"REDIS_TLS_CHECK_HOSTNAME": "true"}, False),
        ({"REDIS_TLS_CHECK_HOSTNAME": "false"}, True),
        ({"REDIS_TLS_CHECK_HOSTNAME": "false", "REDIS_TLS_CA_CERT_FILE": ""}, False),
        ({"REDIS_TLS_INSECURE": "true", "REDIS_TLS_CA_CERT_FILE": ""}, True),
    ],
)
@pytest.mark.parametrize("by_url_alone", [False, True])
async def test_the_host_name_is_checked_if_wanted(
    elsewhere: Standalone, read: Read, settings: dict[str, str], lets_in: bool, by_url_alone: bool
) -> None:
    """Whether TLS is asked for by REDIS_TLS_ENABLED or by rediss:// alone."""
    enabled = {"REDIS_TLS_ENABLED": ""} if by_url_alone else {}
    assert await reached(read, elsewhere.environment(**settings, **enabled)) is lets_in


@pytest.mark.parametrize("name", ["standalone", "cluster", "sentinel"])
async def test_a_silent_server_is_away_after_the_time_set(name: str, read: Read) -> None:
    """REDIS_SOCKET_TIMEOUT for answers, REDIS_SOCKET_CONNECT_TIMEOUT for connections."""
    async with asyncio.timeout(60):
        server = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        place = {
            "standalone": {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)},
            "cluster": {"REDIS_MODE": "cluster", "REDIS_CLUSTER_NODES": f"127.0.0.1:{port}"},
            "sentinel": {"REDIS_MODE": "sentinel", "REDIS_SENTINEL_NODES": f"127.0.0.1:{port}"},
        }
        waits = {"REDIS_SOCKET_TIMEOUT": "1", "REDIS_SOCKET_CONNECT_TIMEOUT": "2"}
        config = redis_config(read(**place[name], **waits))
        assert (config.socket_timeout_s, config.connect_timeout_s) == (1.0, 2.0)
        client = build_redis(config)
        options = getattr(client, "nodes_manager", None) or client.connection_pool
        kept = options.connection_kwargs
        assert (kept["socket_timeout"], kept["socket_connect_timeout"]) == (1.0, 2.0)
        with pytest.raises(Unavailable):
            async with commanding(config):
                await client.get("anything")
        await client.aclose()
        server.close()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1024):
        pass
    writer.close()


async def test_sentinels_that_are_silent_are_passed_over() -> None:
    """One answer of three is enough, and is not waited for behind the others."""
    sentinels = Sentinels(secure=False)
    try:
        sentinels.start()
        for silent in sentinels.sentinels[:2]:
            silent.signal(signal.SIGSTOP)
        config = sentinels.config()
        client = build_redis(config)
        assert await ping(client.ping(), config, within_s=10) > 0
        await client.aclose()
    finally:
        sentinels.close()
