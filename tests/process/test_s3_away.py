"""A whole service while its S3 is away: runs go on, and what could not be kept is said."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.errors import Misconfigured
from infra.setup.s3_server import s3_server
from tests.brokers import absent, running
from tests.process.processes import Serve
from tests.stores.s3_process import ACCESS_KEY, SECRET_KEY, S3Process

WRITE = {"lang": "py", "code": "open('out.txt', 'w').write('x')\nprint('done')"}


@pytest.fixture
def s3() -> Iterator[S3Process]:
    """A server that may be killed."""
    try:
        binary = s3_server()
    except Misconfigured as error:
        absent(str(error))
    with running(S3Process(binary)) as server:
        yield server


def upload(service: Serve, name: str) -> tuple[int, dict[str, Any]]:
    """Upload a small file; return status and body."""
    form = f'--b\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\nhello\r\n--b--\r\n'
    headers = {"x-api-key": "test-api-key", "content-type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{service.url}/upload", form.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


@pytest.mark.timeout(900)  # the first time the server is built
def test_runs_go_on_and_files_come_back(serve: Callable[..., Serve], s3: S3Process, bubblewrap: None) -> None:
    """S3 is killed and started again under one service."""
    service = serve(
        MINIO_ENDPOINT=f"127.0.0.1:{s3.port}",
        MINIO_ACCESS_KEY=ACCESS_KEY,
        MINIO_SECRET_KEY=SECRET_KEY,
        MINIO_BUCKET="millrace",
    ).ready()
    status, stored = upload(service, "kept.txt")
    assert status == 200, stored
    reference = {"id": stored["files"][0]["fileId"], "session_id": stored["session_id"], "name": "kept.txt"}
    reading = {"lang": "py", "code": "print(open('kept.txt').read())", "files": [reference]}
    assert service.ask("/exec", reading)["stdout"] == "hello\n"

    s3.kill()
    told = service.ask("/exec", WRITE)
    assert (told["stdout"], told["code"], told["files"]) == ("done\n", 0, [])
    assert "'out.txt' was not kept" in told["stderr"]
    assert told["artifact_delivery"]["failed"] == 1
    status, refused = upload(service, "never.txt")
    assert (status, refused["error"]) == (503, "unavailable"), refused
    assert SECRET_KEY not in json.dumps(refused) + service.said()

    s3.start()
    assert service.ask("/exec", reading)["stdout"] == "hello\n"
    assert [file["name"] for file in service.ask("/exec", WRITE)["files"]] == ["out.txt"]
