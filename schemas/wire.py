"""Reading and writing the wire: plain JSON, with faults named by field in a sentence for people."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from schemas.commands import ControlCommand, RunCode
from schemas.events import AnyEvent
from schemas.results import Result

T = TypeVar("T")

encode = msgspec.json.Encoder().encode
"""Any of our Structs to its JSON bytes."""

_run_code: msgspec.json.Decoder[RunCode] = msgspec.json.Decoder(RunCode)
_control: msgspec.json.Decoder[ControlCommand] = msgspec.json.Decoder(ControlCommand)
_event: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_result: msgspec.json.Decoder[Result] = msgspec.json.Decoder(Result)
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
"""Those of other Structs: to make one takes longer than to read most bodies."""
_TOO_DEEP = "The body is nested too deeply."
NESTING_MAX = 100
"""Levels of objects and arrays, which only free-form values such as a tool's result can reach."""
_FAULT = re.compile(r"(?P<what>.*?) - at `\$\.?(?P<field>[^`]*)`", re.DOTALL)


class WireFault(ValueError):
    """A message that cannot be read; `field` is the path of the value at fault, or empty."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


def decode_run_code(data: bytes) -> RunCode:
    """Read a `run_code`; its `type` may be left out. Raises `WireFault`."""
    return _decode(_run_code, data)


def decode_control(data: bytes) -> ControlCommand:
    """Read a command of the control stream. Raises `WireFault`."""
    return _decode(_control, data)


def decode_event(data: bytes) -> AnyEvent:
    """Read one event of a log. Raises `WireFault`."""
    return _decode(_event, data)


def decode_result(data: bytes) -> Result:
    """Read one line of the results stream. Raises `WireFault`."""
    return _decode(_result, data)


def decode_as(data: bytes, wanted: type[T]) -> T:
    """Read `data` as any Struct. Raises `WireFault`."""
    decoder: msgspec.json.Decoder[T] | None = _decoders.get(wanted)
    if decoder is None:
        decoder = _decoders[wanted] = msgspec.json.Decoder(wanted)
    return _decode(decoder, data)


def find_id(data: bytes) -> str | None:
    """Return the `id` of a message that may be broken otherwise, if one can be found in it."""
    try:
        loose = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found = loose.get("id") if isinstance(loose, dict) else None
    return found if isinstance(found, str) else None


def _decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    try:
        read = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise WireFault("The body is not valid JSON in UTF-8.") from None
    except RecursionError:
        raise WireFault(_TOO_DEEP) from None
    # Each level takes a bracket. How deep the decoder itself goes differs between versions of Python.
    if data.count(b"{") + data.count(b"[") > NESTING_MAX and _is_deeper(read, NESTING_MAX):
        raise WireFault(_TOO_DEEP)
    return read


def _is_deeper(whole: Any, levels: int) -> bool:
    """Whether anything lies more than `levels` below `whole`; looked for without recursion."""
    layer = [whole]
    for _ in range(levels + 1):
        layer = [inner for outer in layer for inner in _within(outer)]
    return bool(layer)


def _within(outer: Any) -> Iterable[Any]:
    match outer:
        case dict():
            return outer.values()
        case list():
            return outer
        case msgspec.Struct():
            return [getattr(outer, name) for name in outer.__struct_fields__]
    return ()


def _named(text: str) -> WireFault:
    if match := _FAULT.fullmatch(text):
        return WireFault(f"{match['what']}.", match["field"])
    missing = re.search(r"missing required field `(\w+)`", text)
    return WireFault(f"{text}.", missing[1] if missing else "")
