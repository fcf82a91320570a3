"""When an entry may be acknowledged because another one of the same execution is there.

A request may be published several times: by whoever asks again, or when it is woken. While one entry is
held, the others are done with, but not each of them: a handler may sleep with an entry that others have
acknowledged meanwhile, wake, take the lease under it, and die. So of two entries only the newer one gives
way, and only while the older one is still there. The oldest then never gives way to any, and there is always
one left to be reclaimed until the execution has ended or is kept elsewhere. Whoever ends it takes the one off
that was told last that another is held, unless the broker is NATS, where only the holder writes a record.
"""


def may_give_way(entry: str, to: str) -> bool:
    """Whether `entry` was published after `to`."""
    return _place(entry) > _place(to)


def _place(entry: str) -> tuple[int, int]:
    ms, _, number = entry.partition("-")
    return int(ms), int(number)
