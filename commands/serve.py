"""`millrace serve`: broker, handlers and edge as children of one supervisor, on one machine.

The supervisor imports everything once and takes the listening socket before it forks: children share
its memory, and while a crashed edge is started again its clients wait instead of being refused.
"""

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from commands.greeting import greet
from commands.own_broker import on_own_broker, own_broker
from commands.reload import run_reloading
from edge.from_settings import refuse_default_key
from edge.process import bindings_of
from edge.process import main as run_edge
from edge.server import listen
from handlers.app import main as run_handlers
from infra.errors import Misconfigured
from infra.logs import configure_logs
from infra.process.broker import EmbeddedBroker
from infra.process.child import ChildSpec
from infra.process.data_dir import DataDir
from infra.process.supervisor import Supervisor
from infra.settings import Settings, load_settings

_EXIT_ADDRESS_TAKEN = 1
_LOOPBACK = "127.0.0.1"
_BROKER_STAGE, _HANDLERS_STAGE, _EDGE_STAGE = range(3)


def serve(port: int | None = None) -> int:
    """Run until SIGINT or SIGTERM; return the exit status. Raises `Misconfigured`."""
    settings = _for_this_machine(load_settings(), port)
    if settings.api_reload:
        return run_reloading(tell)
    refuse_default_key(settings)
    configure_logs(**settings.log_options())
    data_dir = DataDir(settings.millrace_data_dir)
    data_dir.claim()
    with ExitStack() as listening:
        try:
            listeners = [listening.enter_context(listen(binding)) for binding in bindings_of(settings)]
        except Misconfigured as error:
            tell(f"{error} Choose another with {_port_setting(settings)} or --port.")
            return _EXIT_ADDRESS_TAKEN
        broker = own_broker(settings)
        children = list(_children(settings, listeners, broker))
        status = Supervisor(children, tell, on_stopping=listening.close).run()
    if broker is not None:
        broker.leave_nothing()
    return status


def tell(line: str) -> None:
    """Say something to whoever started this."""
    sys.stderr.write(f"millrace: {line}\n")
    sys.stderr.flush()


def _for_this_machine(settings: Settings, port: int | None) -> Settings:
    """Listen on this machine only unless told otherwise: without settings the key is the public default."""
    changes: dict[str, Any] = {}
    if "API_HOST" not in settings.given:
        changes["api_host"] = _LOOPBACK
    if port is not None:
        changes[_port_setting(settings).lower()] = port
    if "LOG_FORMAT" not in settings.given and sys.stderr.isatty():
        changes["log_format"] = "text"
    return replace(settings, **changes)


def _port_setting(settings: Settings) -> str:
    return "HTTPS_PORT" if settings.enable_https else "API_PORT"


def _children(
    settings: Settings, listeners: Sequence[socket.socket], broker: EmbeddedBroker | None
) -> Iterator[ChildSpec]:
    """Yield what runs, in the order of starting."""
    if broker is not None:
        settings = on_own_broker(settings, broker)
        yield ChildSpec(
            "broker",
            broker.run,
            stage=_BROKER_STAGE,
            ready=broker.ready,
            where_to_look=f"; its log is {broker.log_path}",
        )
    # A handler lets what runs end, then cancels it, each within the grace.
    patience_s = 2 * settings.millrace_shutdown_grace_seconds + 5
    for number in range(1, settings.millrace_handlers + 1):
        name = f"handlers-{number}"
        yield ChildSpec(name, lambda: run_handlers(settings), stage=_HANDLERS_STAGE, stop_grace_s=patience_s)
    yield ChildSpec(
        "edge",
        lambda: run_edge(settings, listeners),
        stage=_EDGE_STAGE,
        stop_grace_s=settings.millrace_shutdown_grace_seconds + 5,
    )
    address = listeners[0].getsockname()[:2]
    since = datetime.now(UTC)
    yield ChildSpec(
        "greeting", lambda: greet(settings, address, broker, since), stage=_EDGE_STAGE, restart=False
    )
