"""Our errors, sorted by what the caller should do next.

    MillraceError
    ├── RequestRefused      change the request: it names the field and the limit
    ├── Unavailable         try again after `retry_after_s`: something we need is away or full
    ├── LeaseLost           stop writing: another attempt owns this execution now
    └── Misconfigured       an operator must change something before we can start

Foreign errors are translated at the door of the room that owns the library, the original chained.
Exceptions stay inside a process; failures travel as data (`Finished`, `ErrorBody`).
"""


class MillraceError(Exception):
    """Whatever Millrace itself raises."""


class RequestRefused(MillraceError):
    """The request can never succeed as it is."""

    def __init__(self, message: str, *, field: str = "", limit: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.limit = limit


class Unavailable(MillraceError):
    """Something we need is away or full; the same request may succeed later."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class LeaseLost(MillraceError):
    """This attempt no longer holds its execution; nothing more may be written for it."""


class Misconfigured(MillraceError):
    """The process cannot start as configured; the message says what to change."""
