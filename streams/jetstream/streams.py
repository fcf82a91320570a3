"""The streams of JetStream as they must be, and making them so."""

import asyncio
from typing import Any

from streams.delivery import log
from streams.jetstream.link import Link
from streams.jetstream.wire import STREAM_UNKNOWN, Refused
from streams.protocol import DeliveryPolicy
from streams.topology import Subjects

NS = 1_000_000_000
COMMANDS_MAX = 1000
"""How many control commands are kept for one execution, the newest."""
CONTROL_ENTRIES_MAX = 100_000
REPEATS_S = 120.0
"""How long the server knows a message by its id."""
AGAIN_S = 1.0
"""Between two looks whether all streams are there."""


class Streams:
    """Looks after the streams of one broker."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._making = asyncio.Lock()
        self._looked_at = float("-inf")

    async def make(self) -> None:
        """Make what is missing and change what is different. Raises what is in `AWAY`, and `Refused`."""
        now = asyncio.get_running_loop().time
        async with self._making:
            if now() - self._looked_at < AGAIN_S:
                return
            configs = wanted(self._link.subjects, self._link.policy).items()
            named = [config | {"name": self._link.subjects.stream(name)} for name, config in configs]
            await asyncio.gather(*map(self._make, named))
            self._looked_at = now()

    async def _make(self, config: dict[str, Any]) -> None:
        name, config = config["name"], config | {"num_replicas": self._link.config.replicas}
        try:
            present = (await self._link.api(f"STREAM.INFO.{name}"))["config"]
        except Refused as refused:
            if refused.code != STREAM_UNKNOWN:
                raise
            await self._link.api(f"STREAM.CREATE.{name}", config)
            return
        different = sorted(key for key, value in config.items() if present.get(key, 0) != value)
        if different:
            log.info("stream_changed", stream=name, settings=different)
            await self._link.api(f"STREAM.UPDATE.{name}", present | config)


def wanted(subjects: Subjects, policy: DeliveryPolicy) -> dict[str, dict[str, Any]]:
    """Return the configuration of every stream by its name in `Subjects`.

    Logs age event by event. So that one is whole for a retention after its end, however long it ran within
    another one, everything is kept twice as long.
    """
    kept_ns = round(2 * policy.log_retention_s * NS)
    common = {
        "storage": "file",
        "allow_direct": True,
        "duplicate_window": min(round(REPEATS_S * NS), kept_ns),
    }
    return {
        "REQUESTS": common | {"subjects": [subjects.requests, subjects.ready], "retention": "workqueue"},
        "LOG": common
        | {
            "subjects": [subjects.below("log"), subjects.below("record")],
            "max_age": kept_ns,
            "allow_rollup_hdrs": True,
            "republish": {"src": subjects.below("log"), "dest": subjects.below("live.log")},
        },
        "TURNS": common
        | {
            "subjects": [subjects.below("line"), subjects.below("parked")],
            "max_age": kept_ns,
            "max_msgs_per_subject": 1,
            "allow_msg_ttl": True,
        },
        "RESULTS": common | {"subjects": [subjects.results], "max_msgs": policy.results_max},
        "CONTROL": common
        | {
            "subjects": [subjects.control, subjects.below("control")],
            "max_age": kept_ns,
            "max_msgs": CONTROL_ENTRIES_MAX,
            "max_msgs_per_subject": COMMANDS_MAX,
            "republish": {"src": subjects.below("control"), "dest": subjects.below("live.control")},
        },
        "DEAD": common | {"subjects": [subjects.dead], "max_msgs": policy.dead_letters_max},
    }
