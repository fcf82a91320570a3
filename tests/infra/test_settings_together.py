"""Settings right one by one can be wrong together; and what follows from them is decided once."""

from pathlib import Path

import pytest

from schemas.limits import SandboxLimits
from schemas.validate import Bounds
from streams.protocol import DeliveryPolicy

NATS = {"MILLRACE_TRANSPORT": "nats", "NATS_URL": "nats://h"}

CONTRADICTIONS = [
    ({"ENABLE_HTTPS": "1", "SSL_CERTS_PATH": "/nowhere"}, {"SSL_CERT_FILE", "SSL_KEY_FILE"}),
    ({"SSL_REDIRECT": "1"}, {"SSL_REDIRECT"}),
    ({"REDIS_MODE": "cluster"}, {"REDIS_CLUSTER_NODES"}),
    ({"REDIS_MODE": "cluster", "REDIS_CLUSTER_NODES": "a:1,b"}, {"REDIS_CLUSTER_NODES"}),
    ({"REDIS_MODE": "cluster", "REDIS_CLUSTER_NODES": "a:1", "REDIS_DB": "2"}, {"REDIS_DB"}),
    ({"REDIS_MODE": "cluster", "REDIS_CLUSTER_NODES": "a:1", "REDIS_URL": "redis://h"}, {"REDIS_URL"}),
    ({"REDIS_MODE": "sentinel"}, {"REDIS_SENTINEL_NODES"}),
    ({"REDIS_MODE": "sentinel", "REDIS_SENTINEL_NODES": "a:99999"}, {"REDIS_SENTINEL_NODES"}),
    ({"REDIS_URL": "http://h"}, {"REDIS_URL"}),
    ({"REDIS_URL": "redis://h:0"}, {"REDIS_URL"}),
    ({"REDIS_URL": "redis://h:x"}, {"REDIS_URL"}),
    ({"REDIS_URL": "unix:relative"}, {"REDIS_URL"}),
    ({"REDIS_URL": "redis://h", "REDIS_TLS_ENABLED": "1"}, {"REDIS_URL"}),
    ({"REDIS_TLS_ENABLED": "1", "REDIS_TLS_CA_CERT_FILE": "/nowhere"}, {"REDIS_TLS_CA_CERT_FILE"}),
    ({"REDIS_URL": "rediss://h", "REDIS_TLS_CA_CERT_FILE": "/nowhere"}, {"REDIS_TLS_CA_CERT_FILE"}),
    ({"REDIS_TLS_CERT_FILE": "/x"}, {"REDIS_TLS_KEY_FILE"}),
    ({"REDIS_TLS_KEY_FILE": "/x"}, {"REDIS_TLS_CERT_FILE"}),
    ({"REDIS_KEY_PREFIX": "{a}"}, {"REDIS_KEY_PREFIX"}),
    ({"MILLRACE_TRANSPORT": "nats"}, {"NATS_URL"}),
    ({"MILLRACE_TRANSPORT": "nats", "NATS_URL": "redis://h"}, {"NATS_URL"}),
    ({"MILLRACE_TRANSPORT": "nats", "NATS_URL": "nats://h:x"}, {"NATS_URL"}),
    (NATS | {"NATS_PASSWORD": "p"}, {"NATS_USER"}),
    (NATS | {"NATS_USER": "u", "NATS_TOKEN": "t"}, {"NATS_TOKEN"}),
    (NATS | {"NATS_TLS_ENABLED": "1", "NATS_TLS_CERT_FILE": "/x", "NATS_TLS_KEY_FILE": "/y"},
     {"NATS_TLS_CERT_FILE", "NATS_TLS_KEY_FILE"}),
    (NATS | {"NATS_TLS_KEY_FILE": "/x"}, {"NATS_TLS_CERT_FILE"}),
    ({"NATS_SUBJECT_PREFIX": "team"}, {"NATS_SUBJECT_PREFIX"}),
    ({"NATS_REPLICAS": "2"}, {"NATS_REPLICAS"}),
    ({"MINIO_ENDPOINT": "s3:9000"}, {"MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"}),
    ({"MINIO_ACCESS_KEY": "a"}, {"MINIO_SECRET_KEY"}),
    ({"MINIO_ENDPOINT": "http://s3", "MINIO_USE_IAM": "1"}, {"MINIO_ENDPOINT"}),
    ({"K8S_CPU_LIMIT": "50m"}, {"K8S_CPU_REQUEST"}),
    ({"K8S_MEMORY_LIMIT": "100M"}, {"K8S_MEMORY_REQUEST"}),
    ({"K8S_MEMORY_LIMIT": "1 Gi"}, {"K8S_MEMORY_LIMIT"}),
    ({"K8S_CPU_LIMIT": "0"}, {"K8S_CPU_LIMIT"}),
    ({"GKE_SANDBOX_ENABLED": "1", "K8S_EXECUTION_MODE": "nsenter"}, {"K8S_EXECUTION_MODE"}),
    ({"GKE_SANDBOX_NODE_SELECTOR": '{"a": 1}'}, {"GKE_SANDBOX_NODE_SELECTOR"}),
    ({"GKE_SANDBOX_CUSTOM_TOLERATIONS": "[1]"}, {"GKE_SANDBOX_CUSTOM_TOLERATIONS"}),
    ({"ENABLE_CORS": "1"}, {"CORS_ORIGINS"}),
    ({"ENABLE_CORS": "1", "CORS_ORIGINS": "chat.example.org"}, {"CORS_ORIGINS"}),
    ({"CORS_ORIGINS": "https://chat.example.org/path"}, {"CORS_ORIGINS"}),
    ({"LOG_FILE": "/nowhere/millrace.log"}, {"LOG_FILE"}),
    ({"LOG_FILE": "/"}, {"LOG_FILE"}),
    ({"ENABLE_FILESYSTEM_ISOLATION": "0"}, {"ENABLE_FILESYSTEM_ISOLATION"}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "named"), CONTRADICTIONS)
def test_a_contradiction_is_told_under_the_setting_to_change(faults_of, given, named) -> None:
    """And under no other."""
    assert {fault.name for fault in faults_of(**given)} == named


HARMONIES = [
    {"REDIS_MODE": "cluster", "REDIS_CLUSTER_NODES": "a:7000,[::1]:7001"},
    {"REDIS_MODE": "sentinel", "REDIS_SENTINEL_NODES": "a:26379"},
    {"REDIS_URL": "unix:///run/redis.sock"},
    {"REDIS_URL": "rediss://u:p@h:6380/1", "REDIS_TLS_ENABLED": "1"},
    {"MINIO_USE_IAM": "1", "MINIO_ENDPOINT": "s3.eu-central-1.amazonaws.com"},
    {"MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b"},
    {"K8S_CPU_LIMIT": "0.5", "K8S_MEMORY_LIMIT": "1.5Gi", "K8S_MEMORY_REQUEST": "1.5Gi"},
    {"K8S_EXECUTION_MODE": "nsenter"},
    {"ENABLE_CORS": "1", "CORS_ORIGINS": "*"},
    {"ENABLE_FILESYSTEM_ISOLATION": "0", "MILLRACE_SANDBOX": "kubernetes"},
    {"SSL_CERT_FILE": "/nowhere"},
    {"MILLRACE_TRANSPORT": "nats", "NATS_URL": "nats://one:4222,tls://user:word@two"},
    {"MILLRACE_TRANSPORT": "nats", "NATS_URL": "nats://one", "NATS_USER": "u", "NATS_PASSWORD": "p"},
    {"NATS_TLS_CERT_FILE": "/nowhere", "NATS_TOKEN": "t", "NATS_USER": "u"},
]


@pytest.mark.parametrize("given", HARMONIES)
def test_what_goes_together_is_accepted(faults_of, given) -> None:
    """The checks refuse nothing that works."""
    assert faults_of(**given) == []


def test_https_takes_its_files_from_the_folder_or_by_name(read, tmp_path: Path) -> None:
    """cert.pem and key.pem unless named otherwise; both must be readable."""
    for name in ("cert.pem", "key.pem", "other.pem"):
        (tmp_path / name).write_text("pem")
    settings = read(ENABLE_HTTPS="1", SSL_CERTS_PATH=str(tmp_path), SSL_CERT_FILE=str(tmp_path / "other.pem"))
    assert settings.https_cert_file == tmp_path / "other.pem"
    assert settings.https_key_file == tmp_path / "key.pem"


def test_https_needs_a_port_of_its_own(faults_of, tmp_path: Path) -> None:
    """Two listeners cannot share one."""
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("pem")
    (fault,) = faults_of(ENABLE_HTTPS="1", SSL_CERTS_PATH=str(tmp_path), HTTPS_PORT="8000")
    assert fault.name == "HTTPS_PORT"


@pytest.mark.parametrize(
    ("given", "configured"),
    [
        ({}, False),
        ({"REDIS_HOST": "localhost"}, True),
        ({"REDIS_PORT": "6379"}, True),
        ({"REDIS_URL": "redis://h"}, True),
        ({"REDIS_MODE": "sentinel", "REDIS_SENTINEL_NODES": "a:1"}, True),
        ({"REDIS_HOST": "", "REDIS_DB": "1"}, False),
    ],
)
def test_an_own_redis_is_started_only_where_none_is_named(read, given, configured: bool) -> None:
    """Naming the default address is naming one."""
    assert read(**given).redis_configured is configured


@pytest.mark.parametrize(
    ("given", "configured"),
    [
        ({}, False),
        ({"MINIO_BUCKET": "other"}, False),
        ({"MINIO_USE_IAM": "1"}, True),
        ({"MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b"}, True),
        ({"MINIO_ENDPOINT": "localhost:9000", "MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b"}, True),
    ],
)
def test_s3_is_used_only_where_it_is_named(read, given, configured: bool) -> None:
    """Otherwise files lie in a folder."""
    assert read(**given).s3_configured is configured


@pytest.mark.parametrize(
    ("given", "exposed"),
    [
        ({}, True),
        ({"API_HOST": "127.0.0.1"}, False),
        ({"API_HOST": "localhost"}, False),
        ({"API_HOST": "::1"}, False),
        ({"API_HOST": "::"}, True),
        ({"API_DEBUG": "1"}, False),
        ({"API_KEY": "another-key-of-some-length"}, False),
        ({"API_KEY": "another-key-of-some-length", "API_KEYS": "x,test-api-key"}, True),
    ],
)
def test_the_default_key_counts_as_exposed_where_others_could_use_it(read, given, exposed: bool) -> None:
    """Wherever it stands among the keys."""
    assert read(**given).default_key_exposed is exposed


def test_the_defaults_of_other_rooms_are_the_defaults_of_the_settings(read) -> None:
    """One number stands in two places only because a room must not import the other; they agree."""
    settings = read()
    assert settings.bounds() == Bounds()
    assert settings.sandbox_limits() == SandboxLimits()
    assert DeliveryPolicy(**settings.delivery_policy()) == DeliveryPolicy()


def test_limits_come_out_in_the_units_of_the_sandbox(read) -> None:
    """MiB become bytes, microseconds per 100 ms become cores."""
    limits = read(MAX_MEMORY_MB="64", MAX_CPU_QUOTA="200000", MAX_EXECUTION_TIME="7").sandbox_limits()
    assert (limits.memory_bytes_max, limits.cpus, limits.timeout_s) == (64 * 1024 * 1024, 2.0, 7.0)
