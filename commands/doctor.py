"""`millrace doctor`: what this machine can isolate and run, what is missing, and how to get it."""

import asyncio
import os

from rich.console import Console

from infra.cache_folder import cache_folder
from infra.errors import Unavailable
from infra.logs import configure_logs
from infra.settings import Settings, load_settings
from sandboxes.bodies import build_sandboxes
from sandboxes.doctor import examine
from sandboxes.doctor_view import diagnosis_table
from streams.bodies import build_transport


def diagnose() -> int:
    """Print the diagnosis; return 0 if code can be run here, else 1."""
    settings = load_settings()
    configure_logs(level="ERROR", json=False)
    diagnosis = asyncio.run(examine(build_sandboxes(settings), cache_folder(os.environ)))
    Console().print(diagnosis_table(diagnosis))
    broker = asyncio.run(_broker(settings))
    if broker:
        Console().print(f"\n{broker}", markup=False)
    return 0 if diagnosis.can_run else 1


async def _broker(settings: Settings) -> str:
    """Return how the broker does that the settings name; nothing where `serve` brings its own."""
    if settings.millrace_transport != "nats" and not settings.redis_configured:
        return ""
    transport = build_transport(settings, "millrace-doctor")
    try:
        took_s = await transport.ping()
    except Unavailable as away:
        return f"no  broker ({settings.millrace_transport}): {away.message}"
    finally:
        await transport.close()
    return f"ok  broker ({settings.millrace_transport}): answers within {1000 * took_s:.1f} ms"
