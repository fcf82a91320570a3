"""Ids are types, so that one cannot be passed where another is meant."""

import re
import secrets
from typing import NewType

ExecutionId = NewType("ExecutionId", str)
SessionId = NewType("SessionId", str)
FileId = NewType("FileId", str)
CallId = NewType("CallId", str)
TenantId = NewType("TenantId", str)

EXECUTION_ID_RULE = "1 to 128 characters of [A-Za-z0-9_.:-]"
COMPATIBLE_ID_LENGTH = 21
"""Chat front ends refuse to download anything whose ids are not exactly this long."""

_EXECUTION_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_OPAQUE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def is_execution_id(text: str) -> bool:
    """Whether `text` may name an execution: see `EXECUTION_ID_RULE`."""
    return _EXECUTION_ID.fullmatch(text) is not None


def is_opaque_id(text: str) -> bool:
    """Whether `text` may be an id we made ourselves: a session's or a file's."""
    return _OPAQUE_ID.fullmatch(text) is not None


def new_id(length: int = COMPATIBLE_ID_LENGTH) -> str:
    """Return `length` random characters of `[A-Za-z0-9_-]`, six bits of entropy each."""
    return secrets.token_urlsafe(length)[:length]


def new_execution_id() -> ExecutionId:
    """Return an id for an execution whose publisher chose none."""
    return ExecutionId(new_id())
