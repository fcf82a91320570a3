"""Logs: structlog and the standard library's logging end in the same lines, on stderr and in LOG_FILE.

Each process calls `configure_logs(**settings.log_options())` once; everything else says
`log = structlog.get_logger(__name__)` and `log.info("event", name=value)`. What is bound with
`log_context(request_id=..., execution_id=...)` stands in every line logged inside it, in every
task begun there.

Logs never hold code, keys or the contents of files: such names are masked, bytes are replaced by their
number, and every secret of the settings is struck from the finished line, whoever wrote it.
"""

import json as stdlib_json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars as log_context
from structlog.types import EventDict, Processor

from infra.log_file import SharedRotatingFile
from infra.settings.secret import MASK

__all__ = ["configure_logs", "log_context"]

_NEVER_LOGGED = frozenset({
    *("code", "stdin", "args", "env", "content", "data", "body", "stdout", "stderr"),
    *("api_key", "key", "keys", "password", "secret", "token", "authorization", "cookie", "headers"),
})  # fmt: skip
_SECRET_LENGTH_MIN = 6
"""Shorter ones would strike innocent words from the lines; `config security` warns of them."""
_NOISY = ("uvicorn.access", "httpx", "botocore", "aiobotocore", "kubernetes_asyncio")
"""The edge tells of requests itself; the others log every call, some with its payload."""


def configure_logs(
    *,
    level: str = "INFO",
    json: bool = True,
    file: Path | None = None,
    file_bytes_max: int = 100 * 1024 * 1024,
    file_backups: int = 5,
    secrets: tuple[str, ...] = (),
) -> None:
    """Send everything this process logs to stderr, and to `file` if given. Safe to call again."""
    structlog.configure(
        processors=_PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # What is called again changes the handlers, and none of what a logger has kept.
        cache_logger_on_first_use=True,
    )
    formatter = _SecretFreeFormatter(secrets, _renderer(json=json), _SHARED)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        handlers.append(SharedRotatingFile(file, bytes_max=file_bytes_max, backups=file_backups))
    _replace_root_handlers(handlers, formatter, level)
    _quieten_libraries()


def _without_payloads(_: Any, __: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if name in _NEVER_LOGGED:
            event[name] = MASK
        elif isinstance(value, bytes | bytearray | memoryview):
            event[name] = f"<{len(value)} bytes>"
    return event


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    structlog.processors.StackInfoRenderer(),
    _without_payloads,
    structlog.processors.format_exc_info,
]
_PROCESSORS: list[Processor] = [
    structlog.stdlib.filter_by_level,
    *_SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]
"""One list for good: loggers keep it from their first line on, as to look it up takes longer than a line."""


def _renderer(*, json: bool) -> Processor:
    if json:
        return structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        exception_formatter=structlog.dev.plain_traceback,  # the rich one shows local variables
    )


def _spellings(secret: str) -> tuple[str, ...]:
    return secret, stdlib_json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]


class _SecretFreeFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders a line and strikes the secrets out of it, as they stand in text, JSON and URLs."""

    def __init__(self, secrets: tuple[str, ...], renderer: Processor, foreign: list[Processor]) -> None:
        remove: Callable[[Any, str, EventDict], EventDict] = self.remove_processors_meta
        super().__init__(processors=[remove, renderer], foreign_pre_chain=foreign)
        spellings = {form for secret in secrets for form in _spellings(secret)}
        self._secrets = sorted((s for s in spellings if len(s) >= _SECRET_LENGTH_MIN), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, MASK)
        return line


def _replace_root_handlers(handlers: list[logging.Handler], formatter: logging.Formatter, level: str) -> None:
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if getattr(handler, "of_millrace", False)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.of_millrace = True  # type: ignore[attr-defined]
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level)


def _quieten_libraries() -> None:
    """Take away the handlers libraries brought along, so that their lines come out once and like ours."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream", "faststream.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
