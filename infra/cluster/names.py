"""A name server for Services, so that what is installed on the cluster finds each other as anywhere else.

It knows `<service>.<namespace>.svc.cluster.local` of those that have an address, by IPv4 and UDP, and nothing
else: there is no way out of the cluster. `python -m infra.cluster.names` is how the node starts it.
"""

import json
import re
import socket
import struct
import sys
from collections.abc import Callable

from infra.cluster.api import ask
from infra.cluster.home import NODE_ADDRESS, Home, home

DOMAIN = "cluster.local"
Find = Callable[[str, str], str]
"""From the names of a Service and its namespace to an IPv4 address; empty if there is none."""

_HEAD = struct.Struct(">6H")
_PORT, _QUERY_BYTES_MAX, _TTL_S = 53, 1232, 5
_ANSWER, _NO_SUCH_NAME, _NOT_UNDERSTOOD = 0x8580, 0x8583, 0x8181
_A, _IN, _NAME_OF_THE_QUESTION = 1, 1, 0xC00C
_LABEL_LENGTH_MAX = 63
_OF_AN_OBJECT = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def main() -> None:
    """Answer until killed."""
    place = home()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind((NODE_ADDRESS, _PORT))
        while True:
            query, sender = listening.recvfrom(_QUERY_BYTES_MAX)
            if answer := answer_to(query, lambda service, namespace: _address(place, service, namespace)):
                listening.sendto(answer, sender)


def answer_to(query: bytes, find: Find) -> bytes:
    """Return what to say to a query; nothing if it is none (RFC 1035)."""
    if len(query) < _HEAD.size or query[2] & 0x80:
        return b""
    number = struct.unpack(">H", query[:2])[0]
    try:
        labels, end = _name(query)
        kind, family = struct.unpack(">HH", query[end : end + 4])
    except (IndexError, struct.error, UnicodeDecodeError):
        return _HEAD.pack(number, _NOT_UNDERSTOOD, 0, 0, 0, 0)
    question = query[_HEAD.size : end + 4]
    address = _looked_up(labels, find)
    if not address:
        return _HEAD.pack(number, _NO_SUCH_NAME, 1, 0, 0, 0) + question
    if (kind, family) != (_A, _IN):  # it is there, but has nothing of this kind
        return _HEAD.pack(number, _ANSWER, 1, 0, 0, 0) + question
    record = struct.pack(">HHHIH", _NAME_OF_THE_QUESTION, _A, _IN, _TTL_S, 4) + socket.inet_aton(address)
    return _HEAD.pack(number, _ANSWER, 1, 1, 0, 0) + question + record


def _name(query: bytes) -> tuple[list[str], int]:
    """Return the labels of the question, and where they end."""
    labels, at = [], _HEAD.size
    while length := query[at]:
        label = query[at + 1 : at + 1 + length]
        if length > _LABEL_LENGTH_MAX or len(label) < length:
            raise IndexError
        labels.append(label.decode("ascii").lower())
        at += 1 + length
    return labels, at + 1


def _looked_up(labels: list[str], find: Find) -> str:
    match labels:
        case [service, namespace, "svc", *rest] if ".".join(rest) == DOMAIN:
            are_names = _OF_AN_OBJECT.fullmatch(service) and _OF_AN_OBJECT.fullmatch(namespace)
            return find(service, namespace) if are_names else ""
        case _:
            return ""


def _address(place: Home, service: str, namespace: str) -> str:
    try:
        found = json.loads(ask(place, f"/api/v1/namespaces/{namespace}/services/{service}"))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{service}.{namespace}: {error}\n")
        return ""
    address = str(found["spec"].get("clusterIP", ""))
    # else it is headless, or of the other family
    return address if address.count(".") == 3 else ""


if __name__ == "__main__":
    main()
