"""The settings that load and validate but that nothing reads yet. This table only ever shrinks.

A setting leaves it in the change that makes it real; tests keep the table honest in both directions.
"""

UNREAD: frozenset[str] = frozenset({
    # auth
    "API_KEY_CACHE_TTL",
    "MASTER_API_KEY",
})  # fmt: skip
