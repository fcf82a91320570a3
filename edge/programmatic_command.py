"""From the first body of `POST /exec/programmatic` to a command."""

from datetime import datetime, timedelta

import msgspec
from starlette.requests import Request

from edge.compatible_command import in_their_words, input_files
from edge.config import EdgeConfig
from edge.native_command import checked, trace_of
from edge.refusals import Refusal, refuse
from schemas.commands import RunCode, Tool
from schemas.ids import ExecutionId, SessionId, TenantId, new_id
from schemas.limits import Limits
from schemas.programmatic import ProgrammaticRun, ProgrammaticTool
from schemas.wire import WireFault, decode_as


def programmatic_body(body: bytes) -> ProgrammaticRun:
    """Return the body. Raises `Refusal`: 400 for whatever is wrong with it, as clients expect."""
    try:
        asked = decode_as(body, ProgrammaticRun)
    except WireFault as fault:
        raise refuse(400, "invalid_request", fault.message, fault.field or None) from None
    if asked.continuation_token is None and asked.code is None:
        raise refuse(400, "invalid_request", "Missing required field: code", "code")
    return asked


def programmatic_command(
    request: Request, asked: ProgrammaticRun, tenant: TenantId, config: EdgeConfig, now: datetime
) -> RunCode:
    """Return the command that begins a run. Raises `Refusal`."""
    name = new_id()
    language = asked.lang or asked.language or "py"
    tools = [_tool(tool) for tool in asked.tools or ()]
    command = RunCode(
        id=ExecutionId(name),
        session_id=SessionId(name),
        tenant=tenant,
        language=language,
        code=asked.code or "",
        stdin="",
        files=input_files(asked.files),
        tools=tools,
        limits=Limits(timeout_s=None if asked.timeout is None else asked.timeout / 1000),
        deadline=now + timedelta(seconds=config.start_s_max),
        trace=trace_of(request),
    )
    try:
        command = checked(command, config.bounds)
    except Refusal as refusal:
        raise in_their_words(refusal) from None
    if not tools and command.language == "py":
        return msgspec.structs.replace(command, code=_as_body(command.code))
    return command


def _tool(tool: ProgrammaticTool) -> Tool:
    parameters = tool.parameters if isinstance(tool.parameters, dict) else None
    return Tool(name=tool.name, description=tool.description, parameters=parameters)


def _as_body(code: str) -> str:
    """Make code without tools the body of an async function, as the front ends themselves do."""
    lines = "\n".join(f"    {line}" if line.strip() else "" for line in code.split("\n"))
    return f"import asyncio\nasync def __program__():\n{lines}\n    pass\nasyncio.run(__program__())\n"
