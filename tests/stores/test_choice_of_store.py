"""Which settings lead to which store."""

from pathlib import Path

import pytest

from infra.connect import file_store, object_store
from infra.objects import S3Config
from infra.redis import RedisClient
from infra.settings import Settings, load_settings
from infra.stores.file_quota import QuotaExceeded
from infra.stores.folder_objects import FolderObjects
from infra.stores.s3_objects import S3Objects
from tests.stores.conftest import MIB, OWNER, SESSION, bytes_of, pieces


def _settings(**given: str) -> Settings:
    return load_settings({"MILLRACE_ENV_FILE": "/dev/null", **given})


def _config(**given: str) -> S3Config:
    chosen = object_store(_settings(**given))
    assert isinstance(chosen, S3Objects)
    return chosen._connection.config


async def test_without_s3_files_lie_in_the_data_folder(redis: RedisClient, tmp_path: Path) -> None:
    """And limits come from the settings, the total for one session."""
    settings = _settings(
        MILLRACE_DATA_DIR=str(tmp_path),
        MAX_FILES_PER_SESSION="2",
        MAX_FILE_SIZE_MB="1",
        MAX_TOTAL_FILE_SIZE_MB="1",
        SESSION_TTL_HOURS="2",
    )
    store = file_store(settings, redis)
    ref = await store.save(OWNER, SESSION, "x", pieces(b"x" * MIB))
    assert await bytes_of(store, SESSION, ref.id) == b"x" * MIB
    assert (tmp_path / "objects" / "files" / SESSION / ref.id).stat().st_size == MIB
    (key,) = await redis.keys(f"*files:{{{SESSION}}}:records")
    assert 7000 < await redis.ttl(key) <= 7200
    for content, broken in ((b"x" * (MIB + 1), "file_bytes_max"), (b"x", "session_bytes_max")):
        with pytest.raises(QuotaExceeded) as refused:
            await store.save(OWNER, SESSION, "y", pieces(content))
        assert refused.value.broken == broken
    await store.delete_session(OWNER, SESSION)


def test_the_folder_is_the_choice_without_any_s3_setting(tmp_path: Path) -> None:
    """As on a laptop."""
    assert isinstance(object_store(_settings(MILLRACE_DATA_DIR=str(tmp_path))), FolderObjects)


def test_every_s3_setting_reaches_the_client() -> None:
    """With keys."""
    config = _config(
        MINIO_ENDPOINT="s3.example:9443",
        MINIO_ACCESS_KEY="who",
        MINIO_SECRET_KEY="what",
        MINIO_SECURE="true",
        MINIO_BUCKET="my-bucket",
        MINIO_REGION="eu-central-1",
    )
    assert (config.endpoint, config.secure) == ("s3.example:9443", True)
    assert (config.bucket, config.region) == ("my-bucket", "eu-central-1")
    assert (config.access_key, config.secret_key, config.use_iam) == ("who", "what", False)
    assert config.prefix == ""


def test_iam_needs_no_keys() -> None:
    """It alone switches S3 on."""
    config = _config(MINIO_USE_IAM="true")
    assert (config.use_iam, config.access_key, config.secret_key) == (True, None, None)


@pytest.mark.parametrize(
    ("key_prefix", "folder"),
    [("", ""), ("prod:", "prod_3a/"), ("prod_3a", "prod_5f3a/"), ("a/b.c", "a_2fb_2ec/")],
)
def test_key_prefixes_that_share_a_bucket_do_not_meet(key_prefix: str, folder: str) -> None:
    """The records of one know nothing of the objects of another, and its sweep would take them."""
    given = {"MINIO_ACCESS_KEY": "who", "MINIO_SECRET_KEY": "what", "REDIS_KEY_PREFIX": key_prefix}
    assert _config(**given).prefix == folder


async def test_settings_alone_are_enough_for_files_in_s3(
    s3_config: S3Config, redis: RedisClient, redis_prefix: str
) -> None:
    """A file goes in and comes out of a bucket that nobody made."""
    settings = _settings(
        MINIO_ENDPOINT=s3_config.endpoint,
        MINIO_ACCESS_KEY=s3_config.access_key or "",
        MINIO_SECRET_KEY=s3_config.secret_key or "",
        MINIO_BUCKET=s3_config.bucket,
        REDIS_KEY_PREFIX=redis_prefix,
    )
    store = file_store(settings, redis)
    ref = await store.save(OWNER, SESSION, "x", pieces(b"x"))
    assert await bytes_of(store, SESSION, ref.id) == b"x"
    await store.aclose()
