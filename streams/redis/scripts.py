"""The Lua scripts, which make several steps on one execution's keys a single one."""

from importlib import resources

from infra.redis_script import Argument, Script
from streams.topology import HANDLERS_GROUP, INBOX_MS

__all__ = ["Argument", "Script"]

_NAMES = f"local GROUP, INBOX_MS = '{HANDLERS_GROUP}', {INBOX_MS}\n"
"""What our side has to know as well as the scripts."""


def _script(name: str, *before: str) -> Script:
    folder = resources.files(__package__)
    parts = ("common", *before, name)
    return Script(_NAMES + "".join(folder.joinpath(f"{part}.lua").read_text() for part in parts))


ADMIT = _script("admit")
TAKE = _script("take", "line", "lanes")
DEPTH = _script("depth", "line", "lanes")
RECLAIM = _script("reclaim", "line", "lanes")
BEGIN = _script("begin", "line")
APPEND = _script("append")
FINISH = _script("finish", "line")
RENEW = _script("renew")
KEEP = _script("keep")
RELEASE = _script("release")
WATCH = _script("watch")
TELL = _script("tell")
DEPOSIT = _script("deposit", "mail")
SEND = _script("send", "mail")
BURY_ONCE = _script("bury_once")
SWEEP = _script("sweep")
RETIRE = _script("retire")
GIVE_WAY = _script("give_way")

# Turns
EARLIER = _script("earlier", "line")
JOIN = _script("join", "line")
LEAVE = _script("leave", "line")
PARK = _script("park", "line")
WAKE = _script("wake")
STANDING = _script("standing", "line")
SEARCH = _script("search", "line")
NOTE = _script("note")
DUE = _script("due")
STRIKE = _script("strike")
