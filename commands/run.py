"""`millrace run` without a server: one program in a sandbox of this machine."""

import asyncio
import signal
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import asdict

import msgspec

from commands.own_stdin import pass_on_stdin
from commands.run_report import Ending, Printer
from infra.errors import RequestRefused
from infra.logs import configure_logs
from infra.settings import Settings, load_settings
from sandboxes.bodies import build_sandboxes
from sandboxes.missing_module import advised
from sandboxes.protocol import Exit, OutputFrame, Program, Sandbox, SandboxFailed, SandboxSpec
from schemas.commands import RunCode
from schemas.limits import SandboxLimits
from schemas.validate import find_violation


def run_here(command: RunCode, *, as_json: bool) -> int:
    """Run it and return the exit status. Raises `MillraceError` if it cannot be run."""
    settings = load_settings()
    if command.session_id is not None:
        raise RequestRefused("a session lives on a server; name one with --url", field="session")
    if violation := find_violation(command, settings.bounds()):
        raise RequestRefused(violation.message, field=violation.field, limit=violation.limit)
    configure_logs(level="ERROR", json=False)
    return asyncio.run(_run_here(command, settings, Printer(as_json=as_json)))


async def _run_here(command: RunCode, settings: Settings, printer: Printer) -> int:
    sandboxes = build_sandboxes(settings)
    await sandboxes.start()
    try:
        sandbox = await sandboxes.acquire(_spec(command, settings))
        try:
            for file in command.files:
                await sandbox.put_file(file.name, _once(file.inline_bytes()))
            return await _run(sandbox, command, printer)
        finally:
            await sandbox.close()
    finally:
        await sandboxes.close()


async def _run(sandbox: Sandbox, command: RunCode, printer: Printer) -> int:
    _cancel_on_signals(sandbox)
    if command.stdin is None:
        _connect_own_stdin(sandbox)
    exit_ = None
    async for frame in advised(sandbox.run(_program(command)), sandbox.kind):
        match frame:
            case OutputFrame(stream, data):
                printer.output(stream, data)
            case Exit():
                exit_ = frame
    if exit_ is None:
        raise SandboxFailed("the run ended without an exit")
    changes = await sandbox.changes()
    ending = Ending(
        outcome=exit_.outcome, exit_code=exit_.exit_code, signal=exit_.signal, message=exit_.message
    )
    usage = {"wall_s": exit_.wall_s, "cpu_s": exit_.cpu_s, "memory_bytes_peak": exit_.memory_bytes_peak}
    return printer.end(
        ending,
        {
            "language": command.language,
            "stage": exit_.stage,
            "usage": usage,
            "output": msgspec.to_builtins(exit_.output),
            "files": [asdict(file) for file in changes.produced],
            "deleted_files": list(changes.deleted),
        },
    )


def _spec(command: RunCode, settings: Settings) -> SandboxSpec:
    assert command.id is not None, "build_command names every command"
    return SandboxSpec(
        execution_id=command.id,
        language=command.language,
        limits=_limits(settings.sandbox_limits(), command.limits.timeout_s),
        network=not settings.enable_network_isolation,
        code=command.code,
        check_types=command.check_types,
    )


def _limits(ours: SandboxLimits, timeout_s: float | None) -> SandboxLimits:
    """Whoever runs this on their own machine is the operator and may also ask for more."""
    return ours if timeout_s is None else msgspec.structs.replace(ours, timeout_s=timeout_s)


def _program(command: RunCode) -> Program:
    return Program(
        code=command.code,
        args=command.args,
        env=command.env,
        stdin=(command.stdin or "").encode(),
        keep_stdin_open=command.stdin is None,
    )


def _cancel_on_signals(sandbox: Sandbox) -> None:
    loop = asyncio.get_running_loop()
    cancelling: set[asyncio.Task[None]] = set()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: cancelling.add(loop.create_task(sandbox.cancel())))


def _connect_own_stdin(sandbox: Sandbox) -> None:
    loop = asyncio.get_running_loop()

    def send(data: bytes) -> bool:
        if loop.is_closed():
            return False
        sending = asyncio.run_coroutine_threadsafe(sandbox.send_input(data, eof=not data), loop)
        with suppress(CancelledError, SandboxFailed):
            sending.result()
        return True

    pass_on_stdin(send)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
