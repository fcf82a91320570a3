"""The one place that builds S3 clients, and where S3's errors become ours.

Any server that speaks S3 will do: requests are signed (version 4), buckets are addressed by path, and
checksums are sent only where S3 demands them, since older servers refuse what newer SDKs add. Every call
is bounded in time; the SDK repeats what failed on the way, a few times.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aioboto3
from aiohttp import ClientError as HttpError
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    ReadTimeoutError,
)

from infra.errors import Unavailable

_REFUSED = {
    "403",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "XAdminUserNotFound",  # versitygw's word for an unknown access key
}
_FULL = {"507", "XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity"}
_NO_BUCKET = "NoSuchBucket"
_OURS_ALREADY = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
_UNCONSTRAINED_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Config:
    """Where the bucket is and how to reach it.

    With `use_iam` the credentials come from where AWS's SDKs look for them: environment, web identity
    token, container or machine. A private authority for TLS is named by `AWS_CA_BUNDLE`.
    """

    endpoint: str
    """`host` or `host:port`."""
    bucket: str
    region: str = _UNCONSTRAINED_REGION
    secure: bool = False
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    use_iam: bool = False
    prefix: str = ""
    """Before every key; empty or ending in a slash."""
    attempts_max: int = 3
    connections_max: int = 32
    connect_timeout_s: float = 5.0
    silence_timeout_s: float = 15.0
    """A server that sends nothing for so long is away."""
    call_timeout_s: float = 60.0
    """For one call with all its attempts; a call carries one part of a file at most."""

    def where(self) -> str:
        """Return where this looks for S3, for logs and errors."""
        return f"S3 at {'https' if self.secure else 'http'}://{self.endpoint}"


class S3Connection:
    """A client that connects on first use, and a bucket that is made where it is missing."""

    def __init__(self, config: S3Config) -> None:
        self.config = config
        self._exits = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()
        self._client: Any = None
        self._bucket_seen = False

    @contextlib.asynccontextmanager
    async def calling(self, within_s: float | None = None) -> AsyncIterator[Any]:
        """Yield the client for one call of at most `within_s` (else `call_timeout_s`) seconds.

        What is not caught inside leaves as `Unavailable`.
        """
        async with reaching(self.config, within_s or self.config.call_timeout_s):
            try:
                yield await self._ready()
            except ClientError as error:
                if code_of(error) == _NO_BUCKET:
                    self._bucket_seen = False  # the next call makes it again
                raise

    async def aclose(self) -> None:
        """Close all connections."""
        await self._exits.aclose()
        self._client = None

    async def _ready(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._client = await self._exits.enter_async_context(_client(self.config))
                self._client.meta.events.register_last("before-call.s3", _send_at_once)
        if not self._bucket_seen:
            await self._see_bucket()
            self._bucket_seen = True
        return self._client

    async def _see_bucket(self) -> None:
        try:
            await self._client.head_bucket(Bucket=self.config.bucket)
        except ClientError as error:
            # Some policies allow to use a bucket but not to look at it: then the call itself will tell.
            if code_of(error) in {"404", _NO_BUCKET}:
                await self._make_bucket()

    async def _make_bucket(self) -> None:
        place = {"CreateBucketConfiguration": {"LocationConstraint": self.config.region}}
        needed = {} if self.config.region == _UNCONSTRAINED_REGION else place
        try:
            await self._client.create_bucket(Bucket=self.config.bucket, **needed)
        except ClientError as error:
            if code_of(error) not in _OURS_ALREADY:  # another process was faster
                raise


@contextlib.asynccontextmanager
async def reaching(config: S3Config, within_s: float) -> AsyncIterator[None]:
    """Turn what S3 or the way to it raises, also the end of `within_s` seconds, into `Unavailable`."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except (BotoCoreError, ClientError, HttpError, OSError) as error:  # TimeoutError is an OSError
        raise Unavailable(f"{config.where()} {_what_is_wrong(error, config)}") from error


def code_of(error: ClientError) -> str:
    """Return S3's word for what went wrong; for answers without a body the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _what_is_wrong(error: Exception, config: S3Config) -> str:
    match error:
        case ClientError():
            return _what_it_says(error, config)
        case NoCredentialsError():
            return "cannot be used: this machine or pod has no credentials for it (MINIO_USE_IAM)"
        case ConnectTimeoutError() | ReadTimeoutError() | TimeoutError():
            return "does not answer in time"
        case HttpError() | OSError():
            return "cannot be reached"
        case _:
            # The SDK's own sentences may quote the request, so only the kind of error is named.
            return f"cannot be reached ({type(error).__name__})"


def _what_it_says(error: ClientError, config: S3Config) -> str:
    code = code_of(error)
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    if code == _NO_BUCKET:
        return f"has no bucket {config.bucket!r}"
    if {code, status} & _FULL:
        return "has no room left"
    if {code, status} & _REFUSED:
        return f"refuses our credentials for bucket {config.bucket!r}"
    return f"could not do what was asked ({code or status})"


def _send_at_once(params: dict[str, Any], **_: object) -> None:
    """Do not wait for `100 Continue` before sending a body: that wait knows no `silence_timeout_s`."""
    params["headers"].pop("Expect", None)


def _client(config: S3Config) -> Any:
    keys: dict[str, str | None] = {}
    if not config.use_iam:
        keys = {"aws_access_key_id": config.access_key, "aws_secret_access_key": config.secret_key}
    options = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=config.connect_timeout_s,
        read_timeout=config.silence_timeout_s,
        max_pool_connections=config.connections_max,
        retries={"total_max_attempts": config.attempts_max, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    scheme = "https" if config.secure else "http"
    return aioboto3.Session(region_name=config.region, **keys).client(
        "s3", endpoint_url=f"{scheme}://{config.endpoint}", config=options
    )
