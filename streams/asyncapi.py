"""The AsyncAPI 3 document: every stream with its messages, for publishers and consumers in any language.

Made from the Structs and the names that are really used, so it cannot say anything else than the code. It
describes the transport in use; the words are the same on all of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from infra.version import VERSION
from schemas.commands import RunCode
from schemas.ids import ExecutionId
from schemas.json_schema import MESSAGES, schemas_for_components

Carrier = Literal["redis", "nats"]


class Names(Protocol):
    """The names of the public streams on one broker: `Topology`, or its like for another transport."""

    @property
    def requests(self) -> str: ...
    @property
    def results(self) -> str: ...
    @property
    def control(self) -> str: ...
    @property
    def dead(self) -> str: ...
    def log(self, execution_id: ExecutionId) -> str: ...


@dataclass(frozen=True, slots=True)
class _Channel:
    key: str
    address: Callable[[Names], str | None]
    """None where each message names its own."""
    title: str
    about: str
    messages: tuple[str, ...]
    action: Literal["send", "receive"]
    """What Millrace does with it."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What stands in braces in the address, and what it means."""


_SERVED_AT: dict[Carrier, str] = {"redis": "localhost:6379", "nats": "localhost:4222"}
_CARRIED: dict[Carrier, str] = {
    "redis": "An entry of the stream carries the JSON in its field `data`.",
    "nats": "A message carries the JSON as it is.",
}
_ABOUT = """\
Publish a `run_code`, read what happens from the log of its execution: no client library is needed.

Every execution that was accepted ends in exactly one `finished`, the last event of its log. Events are
numbered by `seq` from 1 without gaps. `results` and `reply_to` are **at least once**: their key is
`execution_id`. Unknown fields are ignored; a known field of the wrong type is refused, naming the field.
Whoever may write to the broker is trusted.
"""
_DESCRIPTIONS = {
    "run_code": "Only `language` and `code` are required; `type` may be left out too. `id` is the "
    "idempotency key: the same id with the same body is the same execution. `stdin` that is given, also "
    "empty, is written and closed; left out it stays open for `send_input`.",
    "result": "A `finished` with the tenant it belongs to. At least once: `execution_id` is the key.",
    "dead_letter": "An entry that nobody could or may handle, with why.",
}
_KEY_OF = {"run_code": "id", "end_session": "session_id", "dead_letter": ""}
"""The field that tells which execution a message is about; `execution_id` for all others."""

_CHANNELS = (
    _Channel(
        "requests",
        lambda names: names.requests,
        "Requests",
        "What is to be run. One entry is enough; it stays until its execution has finished.",
        ("run_code",),
        "receive",
    ),
    _Channel(
        "log",
        lambda names: names.log(ExecutionId("{execution_id}")),
        "Log of one execution",
        "All its events in order, before, during and after the run; bounded, and gone after a while.",
        ("queued", "started", "output", "tool_calls_requested", "file_produced", "finished"),
        "send",
        {"execution_id": "The id that the publisher chose: 1 to 128 of [A-Za-z0-9_.:-]."},
    ),
    _Channel(
        "results",
        lambda names: names.results,
        "Results",
        "Every `finished`, for whoever cares. Read it with a consumer group of your own; at least once.",
        ("result",),
        "send",
    ),
    _Channel(
        "reply",
        lambda _names: None,
        "Reply",
        "The one more stream that a `run_code` names in `reply_to`; at least once.",
        ("finished",),
        "send",
    ),
    _Channel(
        "control",
        lambda names: names.control,
        "Control",
        "Commands about an execution that waits or runs, or about a session. Repeating one is harmless.",
        ("cancel_execution", "send_input", "resolve_tool_calls", "end_session"),
        "receive",
    ),
    _Channel(
        "dead",
        lambda names: names.dead,
        "Dead letters",
        "What could not be read, or was tried too often. Nobody reads it but people.",
        ("dead_letter",),
        "send",
    ),
)


def asyncapi_document(names: Names, carrier: Carrier) -> dict[str, Any]:
    """Return the document for a broker that speaks `carrier`."""
    messages, schemas = _messages(carrier)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Millrace", "version": VERSION, "description": f"{_ABOUT}\n{_CARRIED[carrier]}"},
        "defaultContentType": "application/json",
        "servers": {"broker": _server(carrier)},
        "channels": {channel.key: _described(channel, names) for channel in _CHANNELS},
        "operations": {channel.key: _operation(channel) for channel in _CHANNELS if channel.address(names)},
        "components": {"messages": messages, "schemas": schemas},
    }


def _server(carrier: Carrier) -> dict[str, Any]:
    return {
        "host": "{host}",
        "protocol": carrier,
        "description": "Where the settings say. `millrace serve` says at its start where its own broker is.",
        "variables": {"host": {"default": _SERVED_AT[carrier], "description": "Address and port."}},
    }


def _described(channel: _Channel, names: Names) -> dict[str, Any]:
    described: dict[str, Any] = {
        "address": channel.address(names),
        "title": channel.title,
        "description": channel.about,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in channel.messages},
    }
    if channel.parameters:
        described["parameters"] = {name: {"description": text} for name, text in channel.parameters.items()}
    return described


def _operation(channel: _Channel) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{channel.key}"},
        "title": channel.title,
        "messages": _refs(channel.key, channel.messages),
    }
    if channel.key == "requests":
        operation["reply"] = {
            "address": {"location": "$message.payload#/reply_to"},
            "channel": {"$ref": "#/channels/reply"},
            "messages": _refs("reply", ("finished",)),
        }
    return operation


def _refs(channel: str, messages: Iterable[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages]


def _messages(carrier: Carrier) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the messages of all channels by name, and the schemas they refer to."""
    named = {name: None for channel in _CHANNELS for name in channel.messages}
    structs = {name: MESSAGES[name] for name in named if name in MESSAGES}
    found, schemas = schemas_for_components(structs.values())
    payloads = dict(zip(structs, found, strict=True))
    messages = {name: _message(name, {"payload": payload}) for name, payload in payloads.items()}
    messages["run_code"]["examples"] = [
        {"name": "smallest", "payload": {"language": "py", "code": "print(6 * 7)", "id": "job-1"}}
    ]
    messages["dead_letter"] = _message("dead_letter", _dead_letter(carrier))
    _let_type_be_left_out(schemas[RunCode.__name__])
    return messages, schemas


def _message(name: str, carried: dict[str, Any]) -> dict[str, Any]:
    key = _KEY_OF.get(name, "execution_id")
    return {
        "name": name,
        "title": name,
        **({"description": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {}),
        **({"correlationId": {"location": f"$message.payload#/{key}"}} if key else {}),
        **carried,
    }


def _let_type_be_left_out(schema: dict[str, Any]) -> None:
    schema["required"] = [field for field in schema["required"] if field != "type"]


def _dead_letter(carrier: Carrier) -> dict[str, Any]:
    """Return how a dead letter travels. The entry need not be JSON, so it cannot be inside of any."""
    data = {"type": "string", "description": "The entry as it came, byte for byte."}
    why = {
        "reason": {"type": "string", "description": "A sentence for people."},
        "stream": {"type": "string", "description": "Where it was read."},
        "entry": {"type": "string", "description": "Its number there."},
        "time": {"type": "string", "format": "date-time", "description": "When it was given up."},
    }
    if carrier == "redis":
        payload = {
            "type": "object",
            "description": "The fields of the entry itself, not JSON within it.",
            "properties": {"data": data, **why},
            "required": ["data", *why],
        }
        return {"payload": payload}
    headers = {f"Millrace-{name.capitalize()}": schema for name, schema in why.items()}
    return {"contentType": "application/octet-stream", "payload": data,
            "headers": {"type": "object", "properties": headers}}  # fmt: skip
