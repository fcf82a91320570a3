"""What can be wrong with a log, for whoever writes it and for whoever follows it."""

from infra.errors import MillraceError


class LogFull(MillraceError):
    """The log reached `log_entries_max` or `log_bytes_max`: it takes no more output, only other events."""


class LogGone(MillraceError):
    """A log that was being followed is not there any more: past its retention, or deleted."""
