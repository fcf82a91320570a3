"""The name server of the tests' cluster: what it says to good questions and to bad ones."""

import struct

import pytest

from infra.cluster.names import answer_to

A, AAAA = 1, 28


def question(name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 77, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def find(service: str, namespace: str) -> str:
    return {"rel-redis.mill": "10.244.78.9"}.get(f"{service}.{namespace}", "")


def told(answer: bytes) -> tuple[int, int, int]:
    """Return the number, the response code and how many records there are."""
    number, flags, _, records, _, _ = struct.unpack(">6H", answer[:12])
    assert flags & 0x8000, "it is an answer"
    return number, flags & 0xF, records


def test_a_service_has_its_address() -> None:
    asked = question("rel-redis.mill.svc.cluster.local")
    answer = answer_to(asked, find)
    assert told(answer) == (77, 0, 1)
    assert answer[12:].startswith(asked[12:]), "the question stands in the answer"
    assert answer[-4:] == bytes([10, 244, 78, 9])


def test_case_does_not_matter() -> None:
    assert told(answer_to(question("Rel-Redis.MILL.svc.Cluster.local"), find)) == (77, 0, 1)


def test_a_service_without_a_record_of_the_kind_is_no_error() -> None:
    """Else a resolver that asks for both families would believe that there is no such host."""
    assert told(answer_to(question("rel-redis.mill.svc.cluster.local", AAAA), find)) == (77, 0, 0)


@pytest.mark.parametrize(
    "name",
    [
        "other.mill.svc.cluster.local",
        "rel-redis.svc.cluster.local",
        "rel-redis.mill/x.svc.cluster.local",
        "rel-redis.mill.svc",
        "example.com",
    ],
)
def test_what_it_does_not_know_does_not_exist(name: str) -> None:
    assert told(answer_to(question(name), find)) == (77, 3, 0)


@pytest.mark.parametrize("cut", range(12, 46))
def test_half_a_question_is_answered_with_a_format_error(cut: int) -> None:
    assert told(answer_to(question("rel-redis.mill.svc.cluster.local")[:cut], find)) == (77, 1, 0)


def test_what_is_no_question_gets_no_answer() -> None:
    assert answer_to(b"short", find) == b""
    assert answer_to(answer_to(question("a.b"), find), find) == b""
