"""Times as HTTP writes them (RFC 9110, section 5.6.7)."""

from datetime import datetime
from email.utils import format_datetime


def http_date(time: datetime) -> str:
    """Return `time`, which is UTC, as `Last-Modified` has it."""
    return format_datetime(time.replace(microsecond=0), usegmt=True)
