"""Two steps: whoever consumes the result of one publishes the next, under an id made from the first's.

A result may come twice. The next request then has the same id and the same body again, and Millrace takes
it for the one it knows: each step runs once, with no bookkeeping here.

    .venv/bin/python examples/streams/pipeline.py work [COUNT]    the consumer between the steps
    .venv/bin/python examples/streams/pipeline.py start ID        begin one, wait for its end
"""

import json
import os
import socket
import sys
from typing import Any

import redis
from consume import RESULTS, take

GROUP = "pipeline"
FIRST, SECOND = "-numbers", "-sum"
NUMBERS = "seq 1 100"
SUM = "import sys; print(sum(int(line) for line in sys.stdin))"


def start(broker: redis.Redis, name: str) -> None:
    """Publish the first step; the second names the stream that is waited on here in `reply_to`."""
    publish(broker, id=name + FIRST, language="bash", code=NUMBERS, stdin="")
    [(_, [(_, fields)])] = broker.xread({f"pipeline:{name}": "0"}, count=1, block=120_000)
    ended = json.loads(fields[b"data"])
    print(ended["outcome"], output_of(broker, ended["execution_id"]).strip())


def work(broker: redis.Redis, count: float) -> None:
    """Turn results of the first step into requests of the second, `count` times."""
    try:
        broker.xgroup_create(RESULTS, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    for entry, fields in take(broker, GROUP, f"{socket.gethostname()}-{os.getpid()}"):
        result = json.loads(fields[b"data"])
        name = result["execution_id"].removesuffix(FIRST)
        if name != result["execution_id"]:  # others use this stream too
            go_on(broker, name, result)
            count -= 1
        broker.xack(RESULTS, GROUP, entry)
        if count <= 0:
            return


def go_on(broker: redis.Redis, name: str, result: dict[str, Any]) -> None:
    """Publish the second step with the output of the first, or say that there is nothing to go on with."""
    if (result["outcome"], result["exit_code"]) != ("exited", 0):
        print(f"{name} ends after its first step: {result['message']}", flush=True)
        return
    numbers = output_of(broker, result["execution_id"])
    publish(broker, id=name + SECOND, language="py", code=SUM, stdin=numbers, reply_to=f"pipeline:{name}")
    print(f"{name} goes on", flush=True)


def output_of(broker: redis.Redis, job: str) -> str:
    """Return what a finished job wrote, from its log."""
    events = [json.loads(fields[b"data"]) for _, fields in broker.xrange(f"millrace:log:{job}")]
    return "".join(
        event["data"] for event in events if event["type"] == "output" and event["stream"] == "stdout"
    )


def publish(broker: redis.Redis, **request: Any) -> None:
    """Ask for one execution."""
    broker.xadd("millrace:requests", {"data": json.dumps(request)})


if __name__ == "__main__":
    connected = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
    match sys.argv[1:]:
        case ["start", name]:
            start(connected, name)
        case ["work", *count]:
            work(connected, float(count[0]) if count else float("inf"))
        case _:
            sys.exit(__doc__)
