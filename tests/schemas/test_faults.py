"""What cannot be read or may not run is refused with the field and the limit in a sentence."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.commands import RunCode, Tool
from schemas.files import InputFile
from schemas.limits import Limits, SandboxLimits
from schemas.validate import Bounds, find_violation
from schemas.wire import WireFault, decode_run_code, find_id

GOOD = RunCode(language="py", code="print(1)", id="job-1")
BOUNDS = Bounds(
    code_bytes_max=100, stdin_bytes_max=10, args_max=2, files_max=2, file_bytes_max=8, files_bytes_max=12
)


def having(**fields) -> RunCode:
    return msgspec.structs.replace(GOOD, **fields)


def violation(**fields):
    return find_violation(having(**fields), BOUNDS)


def test_a_good_request_has_no_violation():
    """The rules let ordinary work pass."""
    assert find_violation(GOOD, BOUNDS) is None
    assert (
        violation(files=[InputFile(name="a/b.txt", content="x"), InputFile(name="ü b.txt", content="")])
        is None
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"code":"x"}', "language"),
        (b'{"language":"py"}', "code"),
        (b'{"language":1,"code":"x"}', "language"),
        (b'{"language":"py","code":"x","limits":{"timeout_s":"soon"}}', "limits.timeout_s"),
        (b'{"language":"py","code":"x","limits":{"pids_max":1.5}}', "limits.pids_max"),
        (b'{"language":"py","code":"x","files":[{"name":7}]}', "files[0].name"),
        (b'{"language":"py","code":"x","args":"x"}', "args"),
        (b'{"language":"py","code":"x","retry":"twice"}', "retry"),
        (b'{"language":"py","code":"x","deadline":"2026-01-01T00:00:00"}', "deadline"),
        (b'{"type":"cancel_execution","language":"py","code":"x"}', "type"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(body, field):
    """The fault says which field it is."""
    with pytest.raises(WireFault) as fault:
        decode_run_code(body)
    assert fault.value.field == field
    assert fault.value.message


def nested(levels: int) -> bytes:
    """A request whose tool has parameters so deep; the request, its tools and the tool are three levels."""
    inner = levels - 3
    parameters = b'{"a":' * inner + b"1" + b"}" * inner
    return b'{"language":"py","code":"x","tools":[{"name":"t","parameters":' + parameters + b"}]}"


def test_what_is_nested_as_deep_as_is_allowed_is_read() -> None:
    """On every version of Python, however many brackets the code has."""
    assert decode_run_code(nested(100)).tools
    assert decode_run_code(b'{"language":"c","code":"' + b"{[" * 5000 + b'"}').code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"language":"py","code":"\xff"}',
        b'{"language":"py","code":"\\ud800"}',
        b'{"language":"py","code":"x","limits":{"timeout_s":NaN}}',
        b'{"language":"py","code":"x","tools":[{"name":"t","parameters":'
        + b'{"a":' * 5000
        + b"1"
        + b"}" * 5000
        + b"}]}",
        nested(101),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_no_request_is_a_fault_and_never_an_accident(body):
    """Truncated, empty, not UTF-8, NaN, nested without end: one kind of error."""
    with pytest.raises(WireFault):
        decode_run_code(body)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_make_reading_fail_in_another_way(body):
    """Reading either works or raises a fault; finding an id never raises."""
    find_id(body)
    with suppress(WireFault):
        decode_run_code(body)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"language": "cobol"}, "language"),
        ({"language": ""}, "language"),
        ({"code": "   \n"}, "code"),
        ({"code": "x" * 101}, "code"),
        ({"code": "é" * 51}, "code"),
        ({"code": "a\0b"}, "code"),
        ({"stdin": "x" * 11}, "stdin"),
        ({"args": ["a", "b", "c"]}, "args"),
        ({"args": ["a\0"]}, "args[0]"),
        ({"env": {"A=B": "1"}}, "env.A=B"),
        ({"env": {"": "1"}}, "env."),
        ({"id": "no spaces"}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"id": "line\n"}, "id"),
        ({"id": ""}, "id"),
        ({"tenant": "../other"}, "tenant"),
        ({"session_id": "../../etc"}, "session_id"),
        ({"language": "go", "tools": [Tool(name="weather")]}, "tools"),
        ({"tools": [Tool(name="a", description="x" * 2_000_000)]}, "tools"),
        ({"tools": [Tool(name="a.b"), Tool(name="ab")]}, "tools[1].name"),
        ({"tools": [Tool(name="x" * 257)]}, "tools[0].name"),
        ({"tools": [Tool(name="?!")]}, "tools[0].name"),
        ({"tools": [Tool(name="")]}, "tools[0].name"),
        ({"limits": Limits(timeout_s=-1)}, "limits.timeout_s"),
        ({"limits": Limits(timeout_s=0)}, "limits.timeout_s"),
        ({"limits": Limits(timeout_s=1e300)}, "limits.timeout_s"),
        ({"limits": Limits(timeout_s=float("nan"))}, "limits.timeout_s"),
        ({"limits": Limits(timeout_s=float("inf"))}, "limits.timeout_s"),
        ({"limits": Limits(memory_bytes_max=1)}, "limits.memory_bytes_max"),
        ({"limits": Limits(memory_bytes_max=1 << 60)}, "limits.memory_bytes_max"),
        ({"limits": Limits(pids_max=0)}, "limits.pids_max"),
        ({"limits": Limits(cpus=-0.5)}, "limits.cpus"),
        ({"limits": Limits(output_bytes_max=-1)}, "limits.output_bytes_max"),
        ({"webhook": "https://example.org/hook"}, "webhook"),
    ],
)
def test_a_broken_rule_names_its_field(fields, field):
    """Each rule, broken once."""
    found = violation(**fields)
    assert found is not None
    assert found.field == field
    assert found.message.endswith(".")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "./a",
        "a/.",
        "a\0b",
        "a\\b",
        "x" * 256,
        "a/" * 10 + "b",
        "é" * 200,
    ],
)
def test_a_file_name_that_leaves_the_folder_or_cannot_be_made_is_refused(name):
    """Absolute, climbing, empty, NUL, backslash, too long, too deep."""
    found = violation(files=[InputFile(name=name, content="")])
    assert found is not None and found.field == "files[0].name"


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_files_that_cannot_be_there_together_are_refused(names):
    """Twice the same name, or a file where another needs a folder."""
    found = violation(files=[InputFile(name=name, content="") for name in names])
    assert found is not None and found.field == "files[1].name"


@pytest.mark.parametrize(
    "file",
    [
        InputFile(name="a"),
        InputFile(name="a", session_id="s"),
        InputFile(name="a", file_id="f"),
        InputFile(name="a", content="x", session_id="s", file_id="f"),
    ],
)
def test_a_file_has_either_content_or_a_whole_reference(file):
    """Neither, half of one, or both: refused."""
    found = violation(files=[file])
    assert found is not None and found.field == "files[0]"


def test_file_sizes_are_counted_after_decoding():
    """Nine bytes in base64 break a limit of eight, six do not."""
    nine = InputFile(name="a", content="AAAAAAAAAAAA", encoding="base64")
    six = InputFile(name="a", content="AAAAAAAA", encoding="base64")
    assert violation(files=[six]) is None
    found = violation(files=[nine])
    assert found is not None and (found.limit, found.too_large) == (8, True)


def test_all_files_together_have_a_limit_of_their_own():
    """Two files that are small enough alone are too large together."""
    found = violation(files=[InputFile(name="a", content="1234567"), InputFile(name="b", content="1234567")])
    assert found is not None and (found.field, found.limit) == ("files", 12)


def test_broken_base64_is_named():
    """The content's field, not the file."""
    found = violation(files=[InputFile(name="a", content="***", encoding="base64")])
    assert found is not None and found.field == "files[0].content"


def test_limits_only_lower_what_the_operator_allows():
    """Asking for more gives no more; asking for less gives less; asking nothing changes nothing."""
    ours = SandboxLimits(timeout_s=30, memory_bytes_max=1 << 29, pids_max=512)
    lowered = ours.lowered_by(Limits(timeout_s=5, memory_bytes_max=1 << 40))
    assert (lowered.timeout_s, lowered.memory_bytes_max, lowered.pids_max) == (5, 1 << 29, 512)
