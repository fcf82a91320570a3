"""Real clients from the package registry that npm is set up for, installed once into the cache folder.

A whole `@librechat/agents` is 600 MB of model providers. Its tools need a few packages, so the package
itself is unpacked as it is, and these few are installed beside it for all versions together.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from infra.cache_folder import cache_folder
from tests.brokers import absent

AGENTS = "@librechat/agents"
VERSIONS = {"A": "3.1.63", "B": "3.1.77", "C": "3.1.86", "D": "3.9.2"}
"""One version of each generation. For C stands the next that is published: without `authHeaders` it says the
same."""
NEEDED = [
    "@langchain/core@1.2.8",
    "@langchain/langgraph@1.4.8",
    "@langfuse/core@5.10.1",
    "@langfuse/langchain@5.10.1",
    "@langfuse/otel@5.10.1",
    "@langfuse/tracing@5.10.1",
    "@opentelemetry/api@1.9.0",
    "@opentelemetry/context-async-hooks@2.9.0",
    "@opentelemetry/core@2.9.0",
    "@opentelemetry/exporter-trace-otlp-http@0.223.1",
    "@opentelemetry/sdk-trace-base@2.12.1",
    "ai-tokenizer@1.0.6",
    "axios@1.18.1",
    "cheerio@1.0.0",
    "diff@9.0.0",
    "dotenv@16.4.7",
    "form-data@4.0.5",
    "https-proxy-agent@7.0.6",
    "nanoid@3.3.18",
    "node-fetch@2.7.0",
    "socks-proxy-agent@8.0.5",
    "uuid@11.1.1",
    "zod-to-json-schema@3.25.0",
]
_WITHIN_S = 240
_INSTALL = [
    "--no-save",
    "--no-package-lock",
    "--no-audit",
    "--no-fund",
    "--ignore-scripts",
    "--legacy-peer-deps",
]


def client_packages() -> dict[str, Path]:
    """Return the folder of each generation's package; skips or fails the test where they cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        absent("node and npm are not installed: apt-get install nodejs npm")
    pinned = hashlib.sha256(json.dumps([VERSIONS, NEEDED]).encode()).hexdigest()[:16]
    root = cache_folder(os.environ) / "clients" / pinned
    if not root.is_dir():
        try:
            _install(root)
        except (subprocess.SubprocessError, OSError) as error:
            absent(f"npm could not install the clients: {_reason(error)}")
    return {generation: _folder(root, version) for generation, version in VERSIONS.items()}


def _install(root: Path) -> None:
    """Make `root` appear at once and whole; two workers that both make it agree on one."""
    root.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=root.parent))
    try:
        (making / "package.json").write_text('{"private": true}')
        _npm(making, "install", *_INSTALL, "--omit=optional", *NEEDED)
        for version in VERSIONS.values():
            _npm(making, "pack", "--silent", f"{AGENTS}@{version}")
            folder = _folder(making, version)
            with tarfile.open(making / f"librechat-agents-{version}.tgz") as archive:
                archive.extractall(folder.parent, filter="data")
            (folder.parent / "package").rename(folder)
        making.rename(root)
    except OSError:
        if not root.is_dir():
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _folder(root: Path, version: str) -> Path:
    return root / version / "node_modules" / AGENTS


def _npm(folder: Path, *arguments: str) -> None:
    subprocess.run(["npm", *arguments], cwd=folder, check=True, capture_output=True, timeout=_WITHIN_S)


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error).encode()
    return said.decode(errors="replace").strip()[-300:]
