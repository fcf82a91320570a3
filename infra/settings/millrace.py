"""Millrace's own settings: processes, delivery on the streams, bounds on requests."""

from pathlib import Path
from typing import Literal

from infra.settings.declare import group, setting

_MIB = 1024 * 1024


@group
class Processes:
    """Millrace's processes."""

    millrace_transport: Literal["redis", "nats", "memory"] = setting(
        "redis",
        "What carries the messages. memory lives inside one process, for tests; with nats everything else "
        "stays in Redis.",
    )
    millrace_sandbox: Literal["local", "kubernetes", "fake"] = setting(
        "local",
        "Where code runs: in namespaces of this machine, in pods, or nowhere (fake: scripted, for tests).",
    )
    millrace_instance: str = setting(
        "millrace",
        "Name of this Millrace in a cluster: its pods carry it, and it tells several in one namespace apart.",
        pattern=(r"[a-z]([-a-z0-9]{0,28}[a-z0-9])?", "a Kubernetes name of at most 30 characters"),
    )
    millrace_data_dir: Path = setting(
        Path("~/.local/share/millrace"),
        "Folder for the embedded Redis server, and for files where no S3 is used. Empty: millrace below "
        "XDG_DATA_HOME, or below ~/.local/share.",
        blank_in_template=True,
    )
    millrace_handlers: int = setting(
        1, "Handler processes that `millrace serve` starts.", at_least=1, at_most=256
    )
    millrace_shutdown_grace_seconds: float = setting(
        30.0,
        "Seconds a process that was asked to stop may go on with the executions it has.",
        at_least=0,
        at_most=86_400,
    )
    millrace_trusted_network: bool = setting(
        False, "Accept requests without a key. Only where nobody else can reach the edge."
    )
    millrace_allow_weak_sandbox: bool = setting(
        False, "Let the local sandbox start on a host that offers only weak isolation (tier D)."
    )
    millrace_local_uid: int = setting(
        61_000,
        "User id that local sandboxes get when Millrace runs as root; it should own nothing on this machine.",
        at_least=1,
        at_most=(1 << 31) - 1,
    )


@group
class Delivery:
    """Delivery on the streams."""

    millrace_lease_seconds: float = setting(
        15.0,
        "Seconds of silence after which a handler counts as dead and its work goes to another.",
        at_least=0.1,
        at_most=3600,
    )
    millrace_attempts_max: int = setting(
        3, "Attempts at one execution before it ends lost, as a dead letter.", at_least=1, at_most=100
    )
    millrace_log_retention_seconds: float = setting(
        86_400.0,
        "Seconds for which the events of an execution can be read after its last one.",
        at_least=1,
        at_most=31_536_000,
    )
    millrace_log_entries_max: int = setting(
        50_000, "Events in the log of one execution.", at_least=10, at_most=10_000_000
    )
    millrace_log_bytes_max: int = setting(
        256 * _MIB, "Bytes in the log of one execution.", at_least=64 * 1024, at_most=1 << 40
    )
    millrace_results_max: int = setting(
        100_000, "Entries kept on the results stream.", at_least=1, at_most=100_000_000
    )
    millrace_dead_letters_max: int = setting(
        10_000, "Entries kept among the dead letters.", at_least=1, at_most=100_000_000
    )
    millrace_queue_max: int = setting(
        10_000,
        "Executions that may wait; beyond that new ones get 503 with Retry-After.",
        at_least=1,
        at_most=10_000_000,
    )
    millrace_tenant_queue_max: int = setting(
        5_000,
        "Executions of one tenant that may wait; beyond that its new ones get 429 with Retry-After.",
        at_least=1,
        at_most=10_000_000,
    )


@group
class Requests:
    """Bounds on requests."""

    millrace_body_bytes_max: int = setting(
        64 * _MIB, "Bytes of an HTTP request body; refused before it is read.", at_least=1024, at_most=1 << 40
    )
    millrace_code_bytes_max: int = setting(
        _MIB, "Bytes of code in one request.", at_least=1, at_most=64 * _MIB
    )
    millrace_stdin_bytes_max: int = setting(
        _MIB, "Bytes of stdin in one request.", at_least=0, at_most=64 * _MIB
    )
    millrace_output_bytes_max: int = setting(
        _MIB,
        "Bytes of stdout and stderr of one execution; the rest is counted and dropped.",
        at_least=0,
        at_most=1 << 40,
    )
    millrace_sync_wait_seconds_max: float = setting(
        300.0,
        "Seconds for which an HTTP request may wait for its execution, queueing included.",
        at_least=1,
        at_most=86_400,
    )
    millrace_sync_disconnect: Literal["cancel", "finish"] = setting(
        "cancel", "What becomes of an execution whose waiting client has gone."
    )
    millrace_exec_state: bool = setting(
        False,
        "Let a plain `/exec` leave its Python variables too, for whoever goes on with its session_id. Every "
        "run is then saved and archived as sessions are.",
    )
    millrace_tool_wait_seconds_max: float = setting(
        600.0,
        "Seconds a program may wait for a tool without a result or a new call; then it is cancelled.",
        at_least=1,
        at_most=86_400,
    )
