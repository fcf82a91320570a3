"""HTTPS at the edge itself, and plain HTTP that sends there."""

import ipaddress
import json
import re
import ssl
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.brokers import free_port
from tests.process.processes import Serve

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """The folder of a certificate for 127.0.0.1, its own authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path / "ssl"
    folder.mkdir()
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    return folder


def test_plain_http_sends_to_https_also_after_the_edge_was_killed(
    serve: Callable[..., Serve], certificate: Path
) -> None:
    """The key and the run travel encrypted; both sockets outlive the edge."""
    plain_port = free_port()
    service = serve(
        ENABLE_HTTPS="true", SSL_REDIRECT="true", SSL_CERTS_PATH=str(certificate), API_PORT=str(plain_port)
    ).ready()
    found = re.search(r"listens on (https://\S+)", service.said())
    assert found
    trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    for number in range(2):
        if number:
            service.child("edge").kill()
        # What the standard library follows for a GET is what a browser does.
        plain = f"http://127.0.0.1:{plain_port}/health?x=1"
        with urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusted)).open(
            plain, timeout=60
        ) as answer:
            assert (answer.url, answer.status) == (f"{found[1]}/health?x=1", 200)
    request = urllib.request.Request(
        f"{found[1]}/exec",
        json.dumps({"lang": "py", "code": "print(6 * 7)"}).encode(),
        {"x-api-key": "test-api-key", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:
        assert json.load(answer)["stdout"] == "42\n"


def test_with_an_authority_for_clients_only_those_it_vouches_for_are_let_in(
    serve: Callable[..., Serve], certificate: Path
) -> None:
    """And it still says that it is there, although it would not let its own greeting in."""
    pem = str(certificate / "cert.pem")
    service = serve(ENABLE_HTTPS="true", SSL_CERTS_PATH=str(certificate), SSL_CA_CERTS=pem).ready()
    found = re.search(r"listens on (https://\S+)", service.said())
    assert found
    trusted = ssl.create_default_context(cafile=pem)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{found[1]}/health", timeout=60, context=trusted)
    trusted.load_cert_chain(pem, certificate / "key.pem")
    with urllib.request.urlopen(f"{found[1]}/health", timeout=60, context=trusted) as answer:
        assert answer.status == 200
