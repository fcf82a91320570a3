"""The Docker files name only what is there. No engine runs here: this is how far they are tested."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from infra.settings.catalogue import SETTINGS
from infra.settings.load import examine, load_settings

from .conftest import NO_FILE
from .reads import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
SECRETS = ("API_KEY", "REDIS_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")
FROM_OPERATOR = dict.fromkeys(SECRETS, "0123456789abcdef")
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_0-9]+)(?::?([-?])([^}]*))?\}")


def interpolate(text: str, environ: dict[str, str]) -> str:
    """Do what compose does with ${NAME}, ${NAME:-default} and ${NAME:?message}."""

    def value(match: re.Match[str]) -> str:
        name, operator, word = match.groups()
        if environ.get(name):
            return environ[name]
        assert operator != "?", f"{name} has to be set"
        return word or ""

    return _VARIABLE.sub(value, text)


def test_the_five_services_are_there() -> None:
    """Edge, handlers, Redis, NATS and an S3 server."""
    assert SERVICES.keys() == {"edge", "handlers", "redis", "nats", "objects"}
    assert OURS.keys() == {"edge", "handlers"}


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_given_settings_that_validate(name: str) -> None:
    """No unknown name, no value that is refused, with the operator's key and password alone."""
    environment = {key: interpolate(value, FROM_OPERATOR) for key, value in OURS[name]["environment"].items()}
    assert environment.keys() <= SETTINGS.keys()
    assert examine({**environment, "MILLRACE_ENV_FILE": "/dev/null"})[1] == []


def test_whatever_the_operator_may_set_is_a_setting_and_in_the_template() -> None:
    """One `.env` serves Compose and Millrace."""
    asked = {match[0] for match in _VARIABLE.findall((ROOT / "docker-compose.yml").read_text("utf-8"))}
    assert asked <= SETTINGS.keys()
    assert asked >= set(SECRETS)


def test_files_go_to_the_s3_server_that_is_started() -> None:
    """With the keys it was given, at the port it listens on, and nobody starts before it is healthy."""
    objects = SERVICES["objects"]
    assert "profiles" not in objects
    for service in OURS.values():
        given = service["environment"]
        settings = load_settings({**{k: interpolate(v, FROM_OPERATOR) for k, v in given.items()}, **NO_FILE})
        assert settings.s3_configured
        assert settings.minio_endpoint == f"objects{objects['command'][1]}"
        assert given["MINIO_ACCESS_KEY"] == objects["environment"]["ROOT_ACCESS_KEY"]
        assert given["MINIO_SECRET_KEY"] == objects["environment"]["ROOT_SECRET_KEY"]
        assert service["depends_on"]["objects"] == {"condition": "service_healthy"}


def test_key_and_password_have_no_default() -> None:
    """Nobody runs this with a secret that is written down here."""
    for service in SERVICES.values():
        for value in service.get("environment", {}).values():
            for name, operator, word in _VARIABLE.findall(value):
                assert not (SETTINGS[name].is_secret and operator == "-" and word)
    with pytest.raises(AssertionError, match="has to be set"):
        interpolate(OURS["edge"]["environment"]["API_KEY"], {})


def test_a_dollar_meant_for_the_shell_is_doubled() -> None:
    """Compose would take it for a variable of its own."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    assert re.findall(r"(?<!\$)\$(?![{$])", text) == []


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_commands_that_exist(name: str) -> None:
    """`millrace <command>`."""
    import millrace

    commands = typer.main.get_command(millrace.app).commands  # type: ignore[attr-defined]
    assert OURS[name]["command"][0] in commands


@pytest.mark.parametrize("name", OURS)
def test_the_image_is_built_from_a_file_that_exists(name: str) -> None:
    """Context and Dockerfile."""
    build = OURS[name]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE


def test_services_and_volumes_that_are_named_exist() -> None:
    """What is named is declared, what is declared is used, and no folder of the host is mounted."""
    mounted = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert mounted == COMPOSE["volumes"].keys()
    waited_for = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert waited_for
    for name in waited_for:
        assert "healthcheck" in SERVICES[name]


def test_every_service_that_serves_has_a_health_check() -> None:
    """Handlers serve nothing."""
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == {"handlers"}


def test_the_grace_that_docker_gives_is_longer_than_ours() -> None:
    """Else handlers are killed while they finish."""
    ours = float(OURS["handlers"]["environment"]["MILLRACE_SHUTDOWN_GRACE_SECONDS"])
    assert float(OURS["handlers"]["stop_grace_period"].removesuffix("s")) > ours


def test_the_dockerfile_copies_only_what_exists_and_all_that_is_needed() -> None:
    """Every source of COPY is there and let through by the ignore file; every room is copied."""
    instructions = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    sources = [source for line in instructions for source in line.split()[:-1]]
    allowed = (ROOT / "infra/docker/Dockerfile.dockerignore").read_text("utf-8").splitlines()
    for source in sources:
        assert list(ROOT.glob(source)), source
        assert f"!{source}" in allowed
    assert set(PACKAGES) <= set(sources)
    needed = {path.name for path in ROOT.glob("*.py")}
    assert needed == {path.name for source in sources for path in ROOT.glob(source)} & needed


def test_the_image_gives_variables_that_are_known_and_runs_as_nobody_special() -> None:
    """No misspelt name; no root; the interpreter ignores the working directory."""
    text = DOCKERFILE.read_text("utf-8")
    from infra.settings.environment import BESIDE

    named = set(re.findall(r"\bMILLRACE_[A-Z_]+", text))
    assert named <= SETTINGS.keys() | BESIDE.keys()
    assert text.rindex("\nUSER millrace\n") < text.rindex("\nENTRYPOINT")
    assert '"-P", "-m", "millrace"' in text


def test_the_languages_of_the_image_are_languages() -> None:
    """`python -m sandboxes.install` takes their codes."""
    from schemas.languages import LANGUAGE_CODES

    (named,) = re.findall(r'^ARG LANGUAGES="(.+)"$', DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    assert set(named.split()) <= set(LANGUAGE_CODES)
