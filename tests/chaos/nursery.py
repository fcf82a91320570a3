"""Starts the processes of a chaos run by forking one that has imported everything: in milliseconds.

Reads one JSON object a line from standard input, `{"role": …, "environment": …, "log": …}`, and answers with
`{"born": pid}`; tells every death with `{"died": pid, "status": …}`. Its children end when its input ends.
"""

import importlib
import json
import os
import selectors
import signal
import sys
from typing import Any

from sandboxes.local.cgroups import start_time
from tests.chaos import doomed

HEAVY = (
    "edge.process",
    "handlers.app",
    "sandboxes.local.sandboxes",
    "streams.redis.faststream_app",
    "streams.jetstream.faststream_app",
)


def main() -> None:
    import_everything()
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(heard, selectors.EVENT_READ)
    rest = b""
    children: set[int] = set()
    while True:
        for key, _ in selector.select():
            data = os.read(key.fd, 65_536)
            if key.fd == heard:
                bury(children)
            elif not data:
                for child in children:
                    os.kill(child, signal.SIGKILL)
                return
            else:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    children.add(give_birth(json.loads(line), [heard, tell]))


def import_everything() -> None:
    """Load what edges and handlers are made of, their transports and sandboxes too."""
    for name in HEAVY:
        importlib.import_module(name)


def give_birth(order: dict[str, Any], ours: list[int]) -> int:
    """Fork, and become what is ordered."""
    child = os.fork()
    if child:
        say({"born": child, "since": start_time(child)})
        return child
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in ours:
            os.close(descriptor)
        become(order)
    except BaseException as error:
        if not isinstance(error, SystemExit):
            import traceback

            traceback.print_exc()
        sys.stderr.flush()
        os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
    os._exit(0)


def become(order: dict[str, Any]) -> None:
    nothing = os.open("/dev/null", os.O_RDONLY)
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["doomed", order["role"]]
    doomed.main()


def bury(children: set[int]) -> None:
    """Tell who died since the last look."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        children.discard(pid)
        say({"died": pid, "status": os.waitstatus_to_exitcode(status)})


def say(news: dict[str, int]) -> None:
    os.write(1, json.dumps(news).encode() + b"\n")


if __name__ == "__main__":
    main()
