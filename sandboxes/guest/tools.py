"""Tools as functions of a Python program, which is then the body of an async function.

Calls go out on one descriptor and answers come in on another, a line of JSON each; nothing of it touches
stdout. Calls made in one turn of the event loop leave together, so that `asyncio.gather` asks once.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import json
import os
import textwrap
import threading
import types
from pathlib import Path
from typing import Any, NamedTuple

_CHUNK_BYTES = 1 << 16
_INPUT_BYTES_MAX = 1_000_000
_BODY = "__program__"


class ToolError(Exception):
    """A tool failed; the text is what it said."""


ToolError.__module__ = "__main__"  # a traceback then names it without a module that nobody can import


class Plan(NamedTuple):
    """Where the tools are described, and the two descriptors."""

    path: str
    answers_fd: int
    calls_fd: int

    @classmethod
    def parse(cls, words: str) -> Plan:
        """Read what `tool_kit.py` wrote."""
        path, answers_fd, calls_fd = words.rsplit(":", 2)
        return cls(path, int(answers_fd), int(calls_fd))

    def described(self) -> list[dict[str, Any]]:
        """Return `name`, `identifier` and maybe `description` and `parameters` of each tool."""
        tools: list[dict[str, Any]] = json.loads(Path(self.path).read_text("utf-8"))
        return tools

    def keep_to_ourselves(self) -> None:
        """Let no program that this one starts inherit the descriptors."""
        for fd in (self.answers_fd, self.calls_fd):
            os.set_inheritable(fd, False)


class Tools:
    """The functions, and the running of a program that may await them."""

    def __init__(self, plan: Plan) -> None:
        plan.keep_to_ourselves()
        desk = _Desk(plan)
        self._functions = {tool["identifier"]: _function(desk, tool) for tool in plan.described()}

    def enter(self, main: types.ModuleType) -> None:
        """Put the functions into `main`. `asyncio` is there without an import, as front ends promise."""
        import asyncio

        builtins.asyncio = asyncio  # type: ignore[attr-defined]  # in `main` it would be saved as a variable
        main.__dict__.update(self._functions)

    def leave(self, main: types.ModuleType) -> None:
        """Take them out again, before variables are saved."""
        for name, function in self._functions.items():
            if main.__dict__.get(name) is function:
                del main.__dict__[name]

    def execute(self, source: bytes, path: str, main: types.ModuleType) -> None:
        """Run a program; its `await` may stand at the top."""
        code = compiled(source, path)
        if not code.co_flags & inspect.CO_COROUTINE:
            exec(code, main.__dict__)
            if _BODY not in main.__dict__:
                return
            awaited = main.__dict__.pop(_BODY)()
        else:
            awaited = eval(code, main.__dict__)  # noqa: S307 - what else is a sandbox for
        import asyncio

        asyncio.run(awaited)


def compiled(source: bytes, path: str) -> types.CodeType:
    """Return the code of a program that is the body of an async function.

    As a module with `await` where that is enough, so that its variables are the session's. What only a body
    may do, such as `return`, makes it one: then the code defines a function for it.
    """
    # Each attempt outside of the one before, so that what fails last is all that a traceback shows.
    with contextlib.suppress(SyntaxError):
        return _compile(source, path)
    tree = _parsed(source, path)
    with contextlib.suppress(SyntaxError):
        return _compile(tree, path)
    (body,) = ast.parse(f"async def {_BODY}(): pass", path).body
    body.body = tree.body or body.body  # type: ignore[attr-defined]
    return _compile(ast.Module([body], []), path)


def _compile(program: Any, path: str) -> types.CodeType:
    code: types.CodeType = compile(program, path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


def _parsed(source: bytes, path: str) -> ast.Module:
    """Parse; a program that is indented as a whole is as good as any."""
    try:
        return ast.parse(source, path)
    except IndentationError:
        dedented = textwrap.dedent(source.decode("utf-8", "replace"))
        if dedented.encode() == source:
            raise
        return ast.parse(dedented, path)


class _Desk:
    """The way to the service, for any number of event loops in this process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._process = os.getpid()
        self._writing = threading.Lock()
        self._waiting: dict[int, Any] = {}
        self._unsent: dict[Any, list[bytes]] = {}
        self._made = 0
        self._reader: threading.Thread | None = None

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool; return its result. Raises `ToolError`."""
        import asyncio

        if os.getpid() != self._process:
            raise ToolError("Tools can be called from the process that the program began in only.")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._writing:
            self._made += 1
            key = self._made
        line = json.dumps({"key": key, "name": name, "input": arguments}, allow_nan=False).encode()
        if len(line) > _INPUT_BYTES_MAX:
            raise ToolError(f"The input of a tool call may be {_INPUT_BYTES_MAX} bytes at most.")
        self._waiting[key] = future
        if loop not in self._unsent:
            self._unsent[loop] = []
            loop.call_soon(self._send, loop)
        self._unsent[loop].append(line + b"\n")
        try:
            return await future
        finally:
            self._waiting.pop(key, None)

    def _send(self, loop: Any) -> None:
        text = memoryview(b"".join(self._unsent.pop(loop)))
        with self._writing:
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="tool results", daemon=True)
                self._reader.start()
            while text:
                text = text[os.write(self._plan.calls_fd, text) :]

    def _read(self) -> None:
        received = bytearray()
        while chunk := os.read(self._plan.answers_fd, _CHUNK_BYTES):
            received += chunk
            while (end := received.find(b"\n")) >= 0:
                answer = json.loads(received[:end])
                del received[: end + 1]
                self._hear(answer)

    def _hear(self, answer: dict[str, Any]) -> None:
        future = self._waiting.get(answer["key"])
        if future is not None:
            with contextlib.suppress(RuntimeError):  # that loop is closed, and nobody waits any more
                future.get_loop().call_soon_threadsafe(_settle, future, answer)


def _settle(future: Any, answer: dict[str, Any]) -> None:
    if future.done():
        return
    if "error" in answer:
        future.set_exception(ToolError(answer["error"]))
    else:
        future.set_result(answer.get("result"))


def _function(desk: _Desk, tool: dict[str, Any]) -> Any:
    """Return the async function that stands for a tool."""
    name, identifier = tool["name"], tool["identifier"]
    signature, rest = _signature(tool.get("parameters") or {})

    async def function(*args: Any, **kwargs: Any) -> Any:
        try:
            arguments = dict(signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise TypeError(f"{identifier}() {error}") from None
        arguments.update(arguments.pop(rest, {}))
        given = {key: value for key, value in arguments.items() if value is not None}
        return await desk.call(name, given)

    function.__name__ = function.__qualname__ = identifier
    function.__doc__ = tool.get("description")
    function.__module__ = "__main__"
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _signature(schema: dict[str, Any]) -> tuple[inspect.Signature, str]:
    """Return the parameters that a JSON schema describes, and the name of the one that takes all others.

    Required ones come first. Where the schema names none, or leaves room for more, anything is taken.
    """
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    required = required if isinstance(required, list) else []
    names = [name for name in properties if name.isidentifier()]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in names if _may_be(name) and name in required]
    parameters += [
        inspect.Parameter(name, kind, default=None)
        for name in names
        if _may_be(name) and name not in required
    ]
    rest = "arguments"
    while rest in properties:
        rest += "_"
    is_open = schema.get("additionalProperties", not properties) is not False
    if is_open or len(parameters) < len(properties):
        parameters.append(inspect.Parameter(rest, inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters), rest


def _may_be(name: str) -> bool:
    """Whether a property may be a parameter: keywords of the language may not."""
    import keyword

    return not keyword.iskeyword(name)
