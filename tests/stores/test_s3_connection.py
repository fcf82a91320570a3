"""All the ways to S3: regions, folders, TLS, keys, and credentials that the machine has."""

import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import Unavailable
from infra.objects import S3Config
from tests.stores.conftest import MIB, Opened, StartS3, left_behind, pieces
from tests.stores.s3_process import ACCESS_KEY, SECRET_KEY, BadWay, S3Process

KEY = "files/session/file"


async def test_a_region_and_a_prefix_are_honoured(start_s3: StartS3, opened: Opened) -> None:
    """Requests are signed for the region, and each prefix is a world of its own."""
    server = start_s3(None, "--region", "eu-test-7")
    right = replace(server.config, region="eu-test-7", prefix="one/")
    await opened(right).put(KEY, pieces(b"x"))
    assert await left_behind(opened(right)) == [KEY]
    assert await left_behind(opened(replace(right, prefix="two/"))) == []
    assert [found.key async for found in opened(replace(right, prefix="")).listing("one/")] == ["one/" + KEY]
    way = BadWay(server.port)
    async with way.leading_to(right) as config:
        await opened(config).check()
    assert b"/eu-test-7/s3/aws4_request" in way.passed


async def test_a_body_is_sent_without_asking_first(
    s3_shared: S3Process, s3_config: S3Config, opened: Opened
) -> None:
    """The SDK would wait for `100 Continue`, for as long as a silent server likes."""
    await opened(s3_config).check()
    way = BadWay(s3_shared.port)
    async with way.leading_to(s3_config) as config:
        await opened(config).put(KEY, pieces(b"x"))
    assert way.passed.count(b"PUT /") == 1
    assert b"100-continue" not in way.passed


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subprocess.run(
        [*command, *subject, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True
    )
    return cert, key


async def test_tls_is_spoken_and_the_server_must_prove_itself(
    start_s3: StartS3, opened: Opened, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_CA_BUNDLE names an authority of one's own; without it a stranger's certificate is refused."""
    cert, key = certificate
    server = start_s3(None, "--cert", str(cert), "--key", str(key))
    config = replace(server.config, secure=True)
    with pytest.raises(Unavailable, match=r"S3 at https://127\.0\.0\.1:\d+ cannot be reached"):
        await opened(config).check()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(cert))
    objects = opened(config)
    await objects.put(KEY, pieces(b"x" * (9 * MIB)))
    assert len([chunk async for chunk in objects.get(KEY)]) > 1


class _Credentials(http.server.BaseHTTPRequestHandler):
    """Hands out credentials as a container platform does."""

    def do_GET(self) -> None:
        body = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": ""}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body | {"Expiration": "2199-01-01T00:00:00Z"}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def credentials_url() -> Iterator[str]:
    """Where a container would ask for its credentials."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Credentials)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/credentials"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be somebody in the cloud."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("no_aws")
async def test_iam_takes_credentials_from_the_machine(
    s3_config: S3Config, opened: Opened, credentials_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so where it has none."""
    config = replace(s3_config, use_iam=True, access_key="not", secret_key="these")
    with pytest.raises(Unavailable, match="has no credentials for it"):
        await opened(config).check()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", credentials_url)
    objects = opened(config)
    await objects.put(KEY, pieces(b"x"))
    assert await left_behind(objects) == [KEY]


@pytest.mark.usefixtures("no_aws")
async def test_our_keys_count_whatever_the_environment_says(
    s3_config: S3Config, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without MINIO_USE_IAM nobody's credentials but those of the settings are used."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "else")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "entirely")
    await opened(s3_config).put(KEY, pieces(b"x"))
