"""`millrace doctor`: what this machine can isolate and run, what is missing, and how to get it."""

import asyncio
import os

from rich.console import Console

from infra.cache_folder import cache_folder
from infra.logs import configure_logs
from infra.settings import load_settings
from sandboxes.bodies import build_sandboxes
from sandboxes.doctor import examine
from sandboxes.doctor_view import diagnosis_table


def diagnose() -> int:
    """Print the diagnosis; return 0 if code can be run here, else 1."""
    settings = load_settings()
    configure_logs(level="ERROR", json=False)
    diagnosis = asyncio.run(examine(build_sandboxes(settings), cache_folder(os.environ)))
    Console().print(diagnosis_table(diagnosis))
    return 0 if diagnosis.can_run else 1
