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

import hashlib
from dataclasses import dataclass

from schemas.ids import ExecutionId, SessionId, TenantId

HANDLERS_GROUP = "handlers"
INBOX_MS = 60_000
"""An inbox on Redis that nobody has kept for so long expires."""
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

    def of_execution(self, execution_id: ExecutionId) -> list[str]:
        """Return record, log, watchers and mail: what every script of an execution touches, in this order."""
        log = self.log(execution_id)
        beside = self._beside(log, "")
        return [f"{beside}record", log, f"{beside}watchers", f"{beside}mail"]

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


@dataclass(frozen=True, slots=True)
class Subjects:
    """The same names on NATS, as subjects and streams below `prefix` (`NATS_SUBJECT_PREFIX`).

    | stream | subjects | holds | kept |
    |---|---|---|---|
    | `REQUESTS`, a work queue | `requests` | `run_code` | until acknowledged |
    | | `ready` | requests that are next, where several lanes wait | likewise |
    | `LOG` | `log.<id>` | one event a message | twice the retention |
    | | `record.<id>` | who holds the lease, once it was renewed; see `jetstream/records.py` | likewise |
    | `TURNS` | `line.<hash of the session>` | who wants a turn, by place | likewise |
    | | `parked.<id>` | that an execution waits for its turn | until woken |
    | `RESULTS` | `results` | `finished` with `tenant` | the newest N |
    | `CONTROL` | `control.<id>`, `control` | control commands | as a log |
    | `DEAD` | `dead` | the entry; why, as headers | the newest N |

    Handlers share the consumers `handlers` and `ready` on `REQUESTS` and `mailers` on `CONTROL`. Events and
    controls that are stored are published once more, below `live.`, for whoever follows.
    """

    prefix: str = ""

    @property
    def requests(self) -> str:
        return self._name("requests")

    @property
    def ready(self) -> str:
        return self._name("ready")

    @property
    def results(self) -> str:
        return self._name("results")

    @property
    def control(self) -> str:
        return self._name("control")

    @property
    def dead(self) -> str:
        return self._name("dead")

    def log(self, execution_id: ExecutionId) -> str:
        return self._name(f"log.{tokens(execution_id)}")

    def record(self, execution_id: ExecutionId) -> str:
        return self._name(f"record.{tokens(execution_id)}")

    def both(self, execution_id: ExecutionId) -> str:
        """Return what matches log and record of one execution, and nothing else in their stream."""
        return self._name(f"*.{tokens(execution_id)}")

    def live(self, execution_id: ExecutionId) -> str:
        return self._name(f"live.log.{tokens(execution_id)}")

    def control_of(self, execution_id: ExecutionId) -> str:
        return self._name(f"control.{tokens(execution_id)}")

    @property
    def control_of_sessions(self) -> str:
        """Commands about no execution; no id has this sign in it."""
        return self._name("control.~sessions")

    def line(self, tenant: TenantId, session_id: SessionId) -> str:
        return self._name(f"line.{hashlib.sha256(f'{tenant}:{session_id}'.encode()).hexdigest()[:32]}")

    def parked(self, execution_id: ExecutionId) -> str:
        return self._name(f"parked.{tokens(execution_id)}")

    def below(self, name: str) -> str:
        """Return what matches everything below a name."""
        return self._name(f"{name}.>")

    def stream(self, name: str) -> str:
        """Return the name of a stream, which may not have dots."""
        return f"{self.prefix.replace('.', '_')}MILLRACE_{name}"

    def _name(self, name: str) -> str:
        return f"{self.prefix}millrace.{name}"


def tokens(execution_id: ExecutionId) -> str:
    """Return an id as part of a subject: as it is, unless its dots would leave a token empty."""
    parts = execution_id.split(".")
    return "%2E".join(parts) if "" in parts else execution_id
