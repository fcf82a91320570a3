"""The AsyncAPI document is valid, whole, and says what the code does."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest

from infra.cache_folder import cache_folder
from infra.errors import Misconfigured
from infra.pages import NpmPackage
from infra.setup.pages import fetch
from schemas.commands import AnyCommand
from schemas.events import AnyEvent
from schemas.ids import ExecutionId
from schemas.results import Result
from streams.asyncapi import Carrier, asyncapi_document
from streams.delivery import DeadLetter
from streams.topology import Subjects, Topology
from tests.brokers import absent

GOLDEN = Path(__file__).parents[1] / "schemas" / "golden"
SPECIFICATION = NpmPackage(
    name="@asyncapi/specs",
    version="6.11.1",
    integrity="sha512-A3WBLqAKGoJ2+6FWFtpjBlCQ1oFCcs4GxF7zsIGvNqp/klGUHjlA3aAcZ9XMMpLGE8zPeYDz2x9FmO6DSuKraQ==",
    files={"3.0.0.json": "schemas/3.0.0-without-$id.json"},
)
CARRIERS = get_args(Carrier)


NAMES: dict[Carrier, Topology | Subjects] = {"redis": Topology("prod:"), "nats": Subjects("prod.")}


def document(carrier: Carrier = "redis") -> dict[str, Any]:
    return asyncapi_document(NAMES[carrier], carrier)


@pytest.fixture(scope="module")
def specification() -> dict[str, Any]:
    """The schema that the makers of AsyncAPI publish for documents of 3.0."""
    caches = cache_folder(os.environ)
    try:
        fetch(SPECIFICATION, caches)
    except Misconfigured as error:
        absent(f"the AsyncAPI schema: {error}")
    return json.loads((SPECIFICATION.folder(caches) / "3.0.0.json").read_text())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_it_is_a_valid_document(specification: dict[str, Any], carrier: Carrier) -> None:
    """By the schema of AsyncAPI itself, which does refuse what is none."""
    judge = jsonschema.Draft7Validator(specification)
    assert [f"{error.json_path}: {error.message}" for error in judge.iter_errors(document(carrier))] == []
    broken = document(carrier)
    broken["operations"]["log"]["action"] = "shout"
    assert not judge.is_valid(broken)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_every_reference_leads_somewhere(carrier: Carrier) -> None:
    """The schema of AsyncAPI does not look."""
    whole = document(carrier)
    found = list(references(whole))
    assert len(found) > 30
    for reference in found:
        place: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def references(part: Any) -> Any:
    match part:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for value in part.values():
                yield from references(value)
        case list():
            for value in part:
                yield from references(value)


def test_it_has_every_command_every_event_the_result_and_the_dead_letter() -> None:
    """By their names on the wire; a new one cannot be forgotten."""
    tags = [str(kind.__struct_config__.tag) for kind in get_args(AnyCommand) + get_args(AnyEvent)]
    assert sorted(document()["components"]["messages"]) == sorted([*tags, "result", "dead_letter"])


@pytest.mark.parametrize("carrier", CARRIERS)
def test_it_has_every_public_stream_under_the_name_it_has_here(carrier: Carrier) -> None:
    """Prefix included; and says in which direction each goes."""
    names, whole = NAMES[carrier], document(carrier)
    addresses = {key: channel["address"] for key, channel in whole["channels"].items()}
    assert addresses == {
        "requests": names.requests,
        "log": names.log(ExecutionId("{execution_id}")),
        "results": names.results,
        "reply": None,
        "control": names.control,
        "dead": names.dead,
    }
    receives = {key for key, operation in whole["operations"].items() if operation["action"] == "receive"}
    assert receives == {"requests", "control"}


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_what_travels_satisfies_what_the_document_says(golden: Path) -> None:
    """Each golden message, against the schema of its message in the document."""
    whole, sent = document(), json.loads(golden.read_text())
    name = "result" if golden.stem == "result" else sent["type"]
    payload = whole["components"]["messages"][name]["payload"]
    jsonschema.validate(sent, {**payload, "components": whole["components"]})


def test_its_own_examples_satisfy_it() -> None:
    """Also the one without a `type`, which a bare publisher may leave out."""
    whole = document()
    [example] = whole["components"]["messages"]["run_code"]["examples"]
    payload = whole["components"]["messages"]["run_code"]["payload"]
    jsonschema.validate(example["payload"], {**payload, "components": whole["components"]})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"language": "py"}, {**payload, "components": whole["components"]})


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_dead_letter_has_the_fields_that_are_described(carrier: Carrier) -> None:
    """In the entry on Redis, in headers on NATS, where the message is the entry itself."""
    fields = DeadLetter(b"?", "why", "requests", "1-0", datetime.now(UTC)).fields()
    letter = document(carrier)["components"]["messages"]["dead_letter"]
    if carrier == "redis":
        assert set(letter["payload"]["properties"]) == set(fields) == set(letter["payload"]["required"])
    else:
        assert {f"Millrace-{name.capitalize()}" for name in fields.keys() - {"data"}} == set(
            letter["headers"]["properties"]
        )


def test_a_result_is_described_with_its_tenant() -> None:
    """Which a `finished` does not have."""
    schemas = document()["components"]["schemas"]
    assert set(schemas["Result"]["properties"]) == {"type", *Result.__struct_fields__}
    assert "tenant" not in schemas["Finished"]["properties"]


@pytest.mark.parametrize(
    ("given", "carrier", "requests"),
    [
        ({}, "redis", "millrace:requests"),
        ({"REDIS_KEY_PREFIX": "p:", "NATS_SUBJECT_PREFIX": "q."}, "redis", "p:millrace:requests"),
        (
            {"MILLRACE_TRANSPORT": "nats", "NATS_URL": "nats://h", "NATS_SUBJECT_PREFIX": "q."},
            "nats",
            "q.millrace.requests",
        ),
    ],
)
def test_an_edge_describes_the_transport_it_uses(given: dict[str, str], carrier: str, requests: str) -> None:
    """Under the names that its own settings give."""
    from edge.from_settings import config_of
    from infra.settings import load_settings

    config = config_of(load_settings({"MILLRACE_ENV_FILE": "/dev/null", "HOME": "/nowhere", **given}))
    whole = asyncapi_document(config.stream_names, config.stream_carrier)
    assert whole["servers"]["broker"]["protocol"] == carrier
    assert whole["channels"]["requests"]["address"] == requests


async def test_the_edge_serves_it() -> None:
    """The same, under /asyncapi.json."""
    from edge.document import Document

    answer = await Document(document()).show(None)  # type: ignore[arg-type]
    assert msgspec.json.decode(answer.body) == document()
