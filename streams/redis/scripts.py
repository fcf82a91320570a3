"""The Lua scripts, which make several steps on one execution's keys a single one."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from infra.redis import RedisClient

Argument = str | bytes | int | float


class Script:
    """One script, sent by its digest, and whole to a server that does not know it yet."""

    def __init__(self, name: str, *before: str) -> None:
        folder = resources.files(__package__)
        parts = ("common", *before, name)
        self._source = "".join(folder.joinpath(f"{part}.lua").read_text() for part in parts)
        self._digest = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: RedisClient, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Return the script's answer."""
        try:
            return await client.execute_command("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.execute_command("EVAL", self._source, len(keys), *keys, *arguments)


ADMIT = Script("admit")
BEGIN = Script("begin", "line")
APPEND = Script("append")
FINISH = Script("finish", "line")
RENEW = Script("renew")
RELEASE = Script("release")
WATCH = Script("watch")
TELL = Script("tell")
DEPOSIT = Script("deposit")
BURY_ONCE = Script("bury_once")
SWEEP = Script("sweep")

# Turns
EARLIER = Script("earlier", "line")
JOIN = Script("join", "line")
LEAVE = Script("leave", "line")
PARK = Script("park", "line")
WAKE = Script("wake")
STANDING = Script("standing", "line")
SEARCH = Script("search", "line")
NOTE = Script("note")
DUE = Script("due")
STRIKE = Script("strike")
