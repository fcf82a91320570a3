"""Every stream, key, subject and group, named once, with its shape and retention.

| what | Redis | holds | kept |
|---|---|---|---|
| requests, and lanes of it | stream, group `handlers` | `data`: `run_code` | until acknowledged |
| log of one execution | stream, entry id `<seq>-0` | `data`: one event | bounded, expires |
| record of one execution | hash | see `redis/records.py` | as its log |
| mail of one execution | hash, by control entry | control commands that overtook the request | as its log |
| watchers of one execution | sorted set, by expiry | inboxes that want to hear of it | as its log |
| line of one session | sorted set, by place | executions that want their turn | as a log |
| parked requests | sorted set, by when to look at them | executions that wait for their turn | until woken |
| lanes of the requests | see `redis/lanes.lua` | what waits for a slot, and whose it is | until handed out |
| results | stream | `data`: `finished` with `tenant` | the newest N |
| inbox of one edge | stream | which execution moved on, and how | the newest N, expires |
| control | stream | `data`: a control command, `once`: a nonce to know repeats by | the newest N |
| dead letters | stream | `data`, `reason`, `stream`, `entry` | the newest N |

What one script touches shares a Redis cluster slot: a key derived from a log is hash-tagged with the
whole name of the log.
"""

from dataclasses import dataclass

from schemas.ids import ExecutionId, SessionId, TenantId

HANDLERS_GROUP = "handlers"
"""The same as `GROUP` in redis/common.lua."""
DATA = "data"
"""The one field of an entry that carries the JSON."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Names of everything on one broker, below `prefix` (`REDIS_KEY_PREFIX`)."""

    prefix: str = ""

    @property
    def requests(self) -> str:
        return f"{self.prefix}millrace:requests"

    @property
    def lanes(self) -> str:
        """Before every key that tells in which order what is on the requests is handed out."""
        return self._beside(self.requests, "lanes")

    @property
    def results(self) -> str:
        return f"{self.prefix}millrace:results"

    @property
    def control(self) -> str:
        return f"{self.prefix}millrace:control"

    @property
    def parked(self) -> str:
        return f"{self.prefix}millrace:parked"

    @property
    def dead(self) -> str:
        return f"{self.prefix}millrace:dead"

    def log(self, execution_id: ExecutionId) -> str:
        return f"{self.prefix}millrace:log:{execution_id}"

    def record(self, execution_id: ExecutionId) -> str:
        return self._beside(self.log(execution_id), "record")

    def mail(self, execution_id: ExecutionId) -> str:
        return self._beside(self.log(execution_id), "mail")

    def watchers(self, execution_id: ExecutionId) -> str:
        return self._beside(self.log(execution_id), "watchers")

    def line(self, tenant: TenantId, session_id: SessionId) -> str:
        return f"{self.prefix}millrace:line:{tenant}:{session_id}"

    def buried(self, entry: str) -> str:
        """Marks that a control entry, which every handler reads, is a dead letter already."""
        return self._beside(self.dead, entry)

    def inbox(self, edge_id: str) -> str:
        return f"{self.prefix}millrace:inbox:{edge_id}"

    @staticmethod
    def _beside(key: str, name: str) -> str:
        """Return a key in the same cluster slot as `key`, which may carry a hash tag of its own."""
        return f"{key}:{name}" if "{" in key else f"{{{key}}}:{name}"
