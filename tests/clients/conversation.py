"""Conversations of one real client with a service: client.cjs in a process of its own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).parent / "client.cjs"


class Conversation:
    """Say what a model or a host would. One process, in which one conversation follows the other."""

    def __init__(self, package: Path, base_url: str) -> None:
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._process = subprocess.Popen(
            ["node", str(_SCRIPT), str(package)],
            env={**environment, "LIBRECHAT_CODE_BASEURL": base_url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, **parameters: Any) -> "Conversation":
        """Forget what was; see `begin` in client.cjs."""
        self.do("begin", **parameters)
        return self

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def do(self, command: str, **fields: Any) -> Any:
        """Carry out one of client.cjs's commands; what it throws fails the test."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **fields}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the client ended"
        told = json.loads(line)
        assert "error" not in told, told
        return told["answer"]

    def run(self, code: str, lang: str = "py", **args: Any) -> dict[str, Any]:
        """Let the model run code, with the files of the conversation."""
        return self.do("call", name="execute_code", args={"lang": lang, "code": code, **args})

    def bash(self, command: str) -> dict[str, Any]:
        """Let the model run a shell command."""
        return self.do("call", name="bash_tool", args={"command": command})

    def program(self, code: str, lang: str = "py") -> dict[str, Any]:
        """Let the model run code that calls the tools of the front end."""
        name = "run_tools_with_code" if lang == "py" else "run_tools_with_bash"
        return self.do("callWithTools", name=name, args={"code": code})

    def upload(self, *files: tuple[str, str], batch: bool = False, **fields: str) -> dict[str, Any]:
        """Upload (name, content) pairs as the front end does; returns the body of a good answer."""
        named = [{"name": name, "content": content} for name, content in files]
        told = self.do("upload", fields=fields, files=named, batch=batch)
        assert told["status"] == 200, told
        return told["body"]

    def get(self, url: str) -> Any:
        """Return the body of a good answer."""
        told = self.do("get", url=url)
        assert told["status"] == 200, told
        return told["body"]
