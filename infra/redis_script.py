"""Lua scripts, which make several steps on keys of one cluster slot a single one."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

from redis.exceptions import NoScriptError

Argument = str | bytes | int | float


class Commands(Protocol):
    """What sends commands: a client, or lines of ours."""

    async def execute_command(self, *command: Any) -> Any:
        """Return the answer to one command."""


class Script:
    """One script, sent by its digest, and whole to a server that does not know it yet."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Commands, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Return the script's answer."""
        try:
            return await client.execute_command("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.execute_command("EVAL", self._source, len(keys), *keys, *arguments)
