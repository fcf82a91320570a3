"""`GET /openapi.json`: the routes and their words, generated from the Structs that are really used."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from infra.version import VERSION
from schemas.commands import RunCode
from schemas.compatible import CompatibleAnswer, CompatibleRun
from schemas.compatible_files import BatchAnswer, Deleted, FileObject, FullFile, UploadAnswer
from schemas.http import (
    Accepted,
    DetailedHealthView,
    ErrorBody,
    ExecutionView,
    HealthView,
    InputBody,
    LanguagesView,
    SessionsView,
    SessionView,
    StateView,
    ToolResultsBody,
)
from schemas.json_schema import schemas_for_components
from schemas.programmatic import Cancelled, CancelRequest, ProgrammaticAnswer, ProgrammaticRun


class Operation(msgspec.Struct, frozen=True):
    """One route with one method. `answers` are the good ones; None is an answer that is no JSON."""

    method: str
    path: str
    does: str
    answers: Mapping[int, Any]
    body: type[msgspec.Struct] | None = None
    form: Mapping[str, str] | None = None
    """The fields of a multipart body, each with its format."""
    example: Any = None
    """A body that works as it is."""
    open: bool = False


_ABOUT_FILES = {"kind": "text", "id": "text", "version": "int64", "entity_id": "text", "read_only": "boolean"}
_UPLOAD = {**_ABOUT_FILES, "file": "binary"}


OPERATIONS = (
    Operation(
        "post",
        "/exec",
        "Run code and wait for its end.",
        {200: CompatibleAnswer},
        CompatibleRun,
        example={"lang": "py", "code": "print(6 * 7)"},
    ),
    Operation(
        "post",
        "/exec/programmatic",
        "Run code that calls tools of yours: begin with `code`, go on with `continuation_token`.",
        {200: ProgrammaticAnswer},
        ProgrammaticRun,
        example={"code": "print(await f(a=1))", "tools": [{"name": "f"}]},
    ),
    Operation(
        "post",
        "/exec/programmatic/cancel",
        "End what a request with that `X-LibreChat-Code-Request-ID` waits for.",
        {200: Cancelled},
        CancelRequest,
    ),
    Operation("post", "/upload", "Store files in a new session.", {200: UploadAnswer}, form=_UPLOAD),
    Operation("post", "/upload/batch", "The same, each file for itself.", {200: BatchAnswer}, form=_UPLOAD),
    Operation(
        "get",
        "/files/{session}",
        "What a session holds; `?detail=` simple, summary, full (shown here) or normalized.",
        {200: list[FullFile]},
    ),
    Operation("delete", "/files/{session}/{file}", "Delete a file.", {200: Deleted}),
    Operation("get", "/sessions/{session}/objects/{file}", "Whether a file lives.", {200: FileObject}),
    Operation("get", "/download/{session}/{file}", "The bytes of a file.", {200: None, 206: None, 304: None}),
    Operation(
        "post",
        "/executions",
        "Submit an execution; wait with `Prefer: wait=N`, or stream with `Accept: text/event-stream`.",
        {200: ExecutionView, 202: Accepted},
        RunCode,
        example={"language": "py", "code": "print(6 * 7)", "stdin": ""},
    ),
    Operation("get", "/executions/{id}", "An execution as far as it has come.", {200: ExecutionView}),
    Operation("delete", "/executions/{id}", "Cancel an execution.", {202: Accepted}),
    Operation(
        "get",
        "/executions/{id}/events",
        "Its events as SSE or NDJSON, from `Last-Event-ID` or `?after=`.",
        {200: None, 204: None},
    ),
    Operation("post", "/executions/{id}/input", "Write to its stdin.", {202: Accepted}, InputBody),
    Operation(
        "post", "/executions/{id}/tool-results", "Answer its tool calls.", {202: Accepted}, ToolResultsBody
    ),
    Operation("post", "/sessions", "Open a session.", {201: SessionView}),
    Operation(
        "get",
        "/sessions",
        "Sessions, the last used first; pages by `?limit=` and `?offset=`.",
        {200: SessionsView},
    ),
    Operation("get", "/sessions/{id}", "A session.", {200: SessionView}),
    Operation("delete", "/sessions/{id}", "End a session; its files and state go.", {204: None}),
    Operation("get", "/state/{session}", "The saved Python state: opaque bytes.", {200: None, 304: None}),
    Operation("put", "/state/{session}", "Replace it, `If-Match` the one expected.", {200: StateView}),
    Operation("delete", "/state/{session}", "Forget it; the session lives on.", {204: None}),
    Operation("get", "/state/{session}/info", "What is known of it.", {200: StateView}),
    Operation("get", "/languages", "What runs here.", {200: LanguagesView}),
    Operation("get", "/health", "Whether the edge lives.", {200: HealthView}, open=True),
    Operation("get", "/health/ready", "Whether it can take work.", {200: HealthView}, open=True),
    Operation("get", "/health/detailed", "Everything it needs.", {200: DetailedHealthView}),
    Operation("get", "/metrics", "Prometheus metrics.", {200: None}, open=True),
)


def openapi_document(key_header: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    used = {answer for operation in OPERATIONS for answer in operation.answers.values() if answer}
    used |= {operation.body for operation in OPERATIONS if operation.body} | {ErrorBody}
    structs = sorted(used, key=str)
    found, components = schemas_for_components(structs)
    schemas = dict(zip(structs, found, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Millrace", "version": VERSION},
        "servers": [{"url": "/"}, {"url": "/v1"}],
        "security": [{"key": []}, {"bearer": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": key_header},
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _described(operation: Operation, schemas: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.does,
        "responses": {
            **{
                str(status): _answer("Done.", answer, schemas) for status, answer in operation.answers.items()
            },
            "default": _answer("Refused, and why.", ErrorBody, schemas),
        },
    }
    if operation.body:
        content: dict[str, Any] = {"schema": schemas[operation.body]}
        if operation.example:
            content["example"] = operation.example
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    if operation.form:
        described["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": _form(operation.form)},
        }
    if names := re.findall(r"\{(\w+)\}", operation.path):
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if operation.open:
        described["security"] = []
    return described


def _form(fields: Mapping[str, str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "format": kind} for name, kind in fields.items()}
    return {"schema": {"type": "object", "properties": properties, "required": ["file"]}}


def _answer(
    text: str,
    answer: Any,
    schemas: Mapping[Any, dict[str, Any]],
) -> dict[str, Any]:
    if answer is None:
        return {"description": text}
    return {"description": text, "content": {"application/json": {"schema": schemas[answer]}}}
