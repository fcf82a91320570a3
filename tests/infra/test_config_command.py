"""`millrace config ...` and `python config_manager.py ...` are one, with or without a terminal."""

import json
import subprocess
import sys
from pathlib import Path

import dotenv
import pytest
from typer.testing import CliRunner

from infra.config_command import config_app
from infra.settings import load_settings
from infra.settings.catalogue import SETTINGS
from infra.settings.unread import UNREAD

ROOT = Path(__file__).resolve().parents[2]
GOOD_KEY = "0123456789abcdef0123"


@pytest.fixture
def run(clean_environment: Path):
    """Run one command in an empty folder with the given variables alone."""
    return lambda *words, **environ: CliRunner().invoke(config_app, list(words), env=environ)


def test_template_is_complete_and_validates(run, clean_environment: Path) -> None:
    """Copied to `.env` as it is, it names every setting and changes nothing."""
    template = run("template").stdout
    (clean_environment / ".env").write_text(template)
    assert dotenv.dotenv_values(".env").keys() == SETTINGS.keys()
    assert run("validate").exit_code == 0
    copied, bare = load_settings(), load_settings({"MILLRACE_ENV_FILE": "/dev/null"})
    assert [getattr(copied, s.attribute) for s in SETTINGS.values()] == [
        getattr(bare, s.attribute) for s in SETTINGS.values()
    ]
    assert not copied.redis_configured
    assert not copied.s3_configured


def test_template_needs_no_valid_configuration(run) -> None:
    """It is what one starts from."""
    assert run("template", API_PORT="x").exit_code == 0


@pytest.mark.parametrize("command", ["validate", "summary", "export", "security"])
def test_faults_go_to_stderr_with_exit_status_2(run, command: str) -> None:
    """All of them, and nothing on stdout."""
    result = run(command, API_PORT="x", REDIS_URL="http://u:hush@h")
    assert result.exit_code == 2
    assert "API_PORT='x' must be" in result.stderr
    assert "REDIS_URL" in result.stderr
    assert "hush" not in result.output
    assert result.stdout == ""


def test_export_is_json_with_every_name_and_no_secret(run) -> None:
    """Types survive; secrets do not."""
    environ = {"API_KEY": "hush-hush-hush", "API_KEYS": "hush,hush", "REDIS_URL": "redis://u:hush@h/0"}
    result = run("export", **environ, API_PORT="81", CORS_ORIGINS="*")
    exported = json.loads(result.stdout)
    assert exported.keys() == SETTINGS.keys()
    assert (exported["API_PORT"], exported["CORS_ORIGINS"]) == (81, ["*"])
    assert (exported["API_KEY"], exported["REDIS_URL"]) == ("****", "redis://u:****@h/0")
    assert exported["MASTER_API_KEY"] is None
    assert "hush" not in result.output


def test_summary_shows_every_name_marks_changes_and_hides_secrets(run) -> None:
    """Names are never cut, also without a terminal; what looks like markup in a value is none."""
    selector = '{"a": "[bold]"}'
    environ = {"API_PORT": "81", "API_KEY": "hush-hush-hush", "LOG_FORMAT": "json"}
    result = run("summary", GKE_SANDBOX_NODE_SELECTOR=selector, **environ)
    assert result.exit_code == 0
    lines = {line.replace("*  ", "").split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert SETTINGS.keys() <= lines.keys()
    assert lines["API_PORT"].lstrip().startswith("*")
    assert not lines["LOG_FORMAT"].lstrip().startswith("*")
    assert selector in lines["GKE_SANDBOX_NODE_SELECTOR"]
    assert "hush" not in result.output


def test_validate_says_which_given_settings_nothing_uses_yet(run) -> None:
    """What is accepted and has no effect is not kept quiet."""
    name = next(s.name for s in SETTINGS.values() if s.name in UNREAD and s.kind == "integer")
    result = run("validate", **{name: str(SETTINGS[name].default + 1)})
    assert result.exit_code == 0
    assert name in result.stderr


@pytest.mark.parametrize(
    ("given", "severity", "name"),
    [
        ({"API_KEY": "test-api-key"}, "high", "API_KEY"),
        ({"API_KEY": "short"}, "high", "API_KEY"),
        ({"API_KEYS": "short"}, "high", "API_KEYS"),
        ({}, "low", "MASTER_API_KEY"),
        ({"MASTER_API_KEY": GOOD_KEY}, "high", "MASTER_API_KEY"),
        ({"API_DEBUG": "1"}, "high", "API_DEBUG"),
        ({"MILLRACE_TRUSTED_NETWORK": "1"}, "high", "MILLRACE_TRUSTED_NETWORK"),
        ({"MILLRACE_TRUSTED_NETWORK": "1", "API_HOST": "127.0.0.1"}, "medium", "MILLRACE_TRUSTED_NETWORK"),
        ({}, "medium", "ENABLE_HTTPS"),
        ({}, "low", "ENABLE_DOCS"),
        ({"ENABLE_CORS": "1", "CORS_ORIGINS": "*"}, "medium", "CORS_ORIGINS"),
        ({"RATE_LIMIT_ENABLED": "0"}, "low", "RATE_LIMIT_ENABLED"),
        ({"ENABLE_SECURITY_LOGS": "0"}, "low", "ENABLE_SECURITY_LOGS"),
        ({"ENABLE_NETWORK_ISOLATION": "0"}, "high", "ENABLE_NETWORK_ISOLATION"),
        (
            {"ENABLE_FILESYSTEM_ISOLATION": "0", "MILLRACE_SANDBOX": "kubernetes"},
            "high",
            "ENABLE_FILESYSTEM_ISOLATION",
        ),
        ({"MILLRACE_ALLOW_WEAK_SANDBOX": "1"}, "high", "MILLRACE_ALLOW_WEAK_SANDBOX"),
        ({"MILLRACE_SANDBOX": "kubernetes", "K8S_EXECUTION_MODE": "nsenter"}, "medium", "K8S_EXECUTION_MODE"),
        ({"REDIS_TLS_ENABLED": "1", "REDIS_TLS_INSECURE": "1"}, "high", "REDIS_TLS_INSECURE"),
        ({"REDIS_TLS_ENABLED": "1"}, "medium", "REDIS_TLS_CHECK_HOSTNAME"),
        ({"REDIS_HOST": "redis.example.org"}, "high", "REDIS_TLS_ENABLED"),
        ({"REDIS_URL": "redis://u@redis.example.org"}, "high", "REDIS_PASSWORD"),
        ({"REDIS_MODE": "cluster", "REDIS_CLUSTER_NODES": "r:1"}, "high", "REDIS_TLS_ENABLED"),
        ({"REDIS_MODE": "sentinel", "REDIS_SENTINEL_NODES": "[2001:db8::1]:1"}, "high", "REDIS_TLS_ENABLED"),
        (
            {"MINIO_ENDPOINT": "s3:9000", "MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b"},
            "high",
            "MINIO_SECURE",
        ),
    ],
)
def test_security_reports_a_weakness_with_its_severity(run, given, severity: str, name: str) -> None:
    """The exit status is 1 exactly if something is severe."""
    result = run("security", **{"API_KEY": GOOD_KEY, **given})
    rows = [
        [cell.strip() for cell in line.split("│")[1:3]] for line in result.stdout.splitlines() if "│" in line
    ]
    assert [severity, name] in rows
    assert result.exit_code == (1 if any(row[0] == "high" for row in rows) else 0)


def test_a_careful_configuration_has_no_weakness(run, clean_environment: Path) -> None:
    """The list can be emptied."""
    for name in ("cert.pem", "key.pem"):
        (clean_environment / name).write_text("pem")
    result = run(
        "security", API_KEY=GOOD_KEY, MASTER_API_KEY=f"{GOOD_KEY}-master", ENABLE_DOCS="0", ENABLE_HTTPS="1",
        SSL_CERTS_PATH=str(clean_environment), REDIS_URL=f"rediss://u:{GOOD_KEY}@redis.example.org",
        REDIS_TLS_CHECK_HOSTNAME="1",
    )  # fmt: skip
    assert (result.exit_code, result.stdout.strip()) == (0, "No weaknesses found in the settings.")


def test_config_manager_does_the_same(run, clean_environment: Path) -> None:
    """The old name of the command, started as it always was."""
    script = [sys.executable, str(ROOT / "config_manager.py")]
    done = subprocess.run([*script, "template"], capture_output=True, text=True, check=True, env={})
    assert done.stdout == run("template").stdout
    failed = subprocess.run(
        [*script, "validate"], capture_output=True, text=True, check=False, env={"MAX_PIDS": "0"}
    )
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "MAX_PIDS='0' must be a whole number from 1" in failed.stderr


def test_millrace_config_is_this_command(clean_environment: Path) -> None:
    """Status and output are the same, through the one command line too."""
    command = [sys.executable, "-P", "-m", "millrace", "config"]
    environ = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "template"], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout == CliRunner().invoke(config_app, ["template"]).stdout
    faulty = {**environ, "MAX_PIDS": "0"}
    failed = subprocess.run([*command, "validate"], capture_output=True, text=True, check=False, env=faulty)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "MAX_PIDS='0'" in failed.stderr
