"""How the stream examples are started in each language, and what they take is got."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cache_folder import cache_folder
from tests.brokers import absent
from tests.process.processes import ROOT

EXAMPLES = ROOT / "examples" / "streams"
LANGUAGES = ("python", "node", "go", "bash")
_WITHIN_S = 120


class Commands:
    """How to start an example in each language; what it takes is made on first use."""

    def __init__(self, examples: Path, folder: Path, cli: str = "redis-cli") -> None:
        self._examples = examples
        self._folder = folder
        self._cli = cli

    def of(self, language: str, example: str) -> list[str]:
        match language:
            case "python":
                return [sys.executable, str(self._examples / f"{example}.py")]
            case "node":
                return ["node", str(self._node() / f"{example}.mjs")]
            case "go":
                return [str(self._go() / example)]
            case _:
                self._need_cli()
                return ["bash", str(self._examples / f"{example}.sh")]

    def _need_cli(self) -> None:
        if shutil.which(self._cli):
            return
        if self._cli == "nats":  # no package has it: it is there or it is not
            pytest.skip("the nats command is not installed")
        absent("redis-cli is not installed: apt-get install redis-tools")

    def _node(self) -> Path:
        """A copy of the examples with the package they name beside them."""
        if shutil.which("node") is None or shutil.which("npm") is None:
            absent("node and npm are not installed: apt-get install nodejs npm")
        copy = self._folder / "node"
        if not copy.exists():
            shutil.copytree(self._examples, copy)
            install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
            self._get([*install, "--cache", str(cache_folder(os.environ) / "npm")], copy)
        return copy

    def _go(self) -> Path:
        if shutil.which("go") is None:
            absent("go is not installed: apt-get install golang-go")
        built = self._folder / "go"
        if not built.exists():
            built.mkdir()
            self._get(["go", "build", "-o", str(built), "./publish", "./consume"], self._examples / "go")
        return built

    def _get(self, command: list[str], folder: Path) -> None:
        environment = {"GOFLAGS": "-mod=readonly", **os.environ}
        try:
            subprocess.run(
                command, cwd=folder, env=environment, check=True, capture_output=True, timeout=_WITHIN_S
            )
        except subprocess.CalledProcessError as error:
            absent(f"{command[0]} could not get what the example needs: {error.stderr.decode()[-500:]}")
