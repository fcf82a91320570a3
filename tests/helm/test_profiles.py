"""What the profiles are made of: a NATS of the chart, what `helm test` asks, all objects in golden files."""

import os
from pathlib import Path

import pytest

from infra.settings.load import load_settings
from tests.helm.conftest import CHART, PROFILES, of_kind, rendered, run
from tests.helm.inventory import golden_file, inventory

TRY, NATS = (next(each for each in PROFILES if each.stem == name) for name in ("try", "nats"))
each_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)


def test_a_nats_of_the_charts_own_carries_the_messages(helm: str) -> None:
    """Whoever asks for one need not say so twice, and may not say the opposite."""
    (config,) = of_kind(rendered(helm, NATS), "ConfigMap").values()
    assert config["data"]["MILLRACE_TRANSPORT"] == "nats"
    settings = load_settings({"MILLRACE_ENV_FILE": os.devnull, "API_KEY": "x" * 32, **config["data"]})
    assert [url.reveal() for url in settings.nats_url] == ["nats://rel-nats:4222"]
    service = of_kind(rendered(helm, NATS), "Service")["rel-nats"]["spec"]["ports"][0]
    (listening,) = of_kind(rendered(helm, NATS), "StatefulSet")["rel-nats"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert service["port"] == listening["ports"][0]["containerPort"] == 4222
    (config,) = of_kind(rendered(helm, TRY), "ConfigMap").values()
    assert "MILLRACE_TRANSPORT" not in config["data"]


@pytest.mark.parametrize(
    ("profile", "setting", "says"),
    [
        (NATS, "settings.MILLRACE_TRANSPORT=redis", "nobody would use it"),
        (TRY, "secrets.NATS_URL.name=n,secrets.NATS_URL.key=k", "nobody would use it"),
        (TRY, "settings.MILLRACE_TRANSPORT=nats", "set secrets.NATS_URL"),
        (NATS, "secrets.NATS_URL.name=n,secrets.NATS_URL.key=k", "either"),
    ],
)
def test_a_nats_that_contradicts_the_transport_is_refused(
    helm: str, profile: Path, setting: str, says: str
) -> None:
    result = run(
        helm, "template", "rel", str(CHART), "-f", str(profile), "--kube-version", "1.35.0", "--set", setting
    )
    assert result.returncode != 0
    assert says in result.stderr


def test_external_nats_is_named_by_a_secret(helm: str) -> None:
    more = "settings.MILLRACE_TRANSPORT=nats,secrets.NATS_URL.name=n,secrets.NATS_URL.key=url"
    things = rendered(helm, TRY, "--set", more)
    pod = of_kind(things, "Deployment")["rel-handlers"]["spec"]["template"]["spec"]
    reference = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in pod["containers"][0]["env"]}
    assert reference["NATS_URL"] == {"name": "n", "key": "url"}


def test_files_that_settings_name_come_from_secrets(helm: str) -> None:
    """Certificates of a private authority, credentials of NATS: every process can read them, and no more."""
    more = "files[0].secret=redis-tls,files[0].mountPath=/etc/millrace/redis"
    for deployment in of_kind(rendered(helm, TRY, "--set", more), "Deployment").values():
        spec = deployment["spec"]["template"]["spec"]
        (volume,) = [each for each in spec["volumes"] if "secret" in each]
        (mount,) = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
        assert volume["secret"]["secretName"] == "redis-tls"
        assert (mount["mountPath"], mount["readOnly"]) == ("/etc/millrace/redis", True)


def test_an_upgrade_keeps_the_old_until_the_new_have_begun(helm: str) -> None:
    """By its probe the edge tells when; the others tell nobody, and are given time."""
    for name, deployment in of_kind(rendered(helm, TRY), "Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert ("readinessProbe" in container) == (name == "rel-edge")
        assert (deployment["spec"].get("minReadySeconds", 0) > 0) == (name != "rel-edge")
        assert ("preStop" in container.get("lifecycle", {})) == (name == "rel-edge"), "it has a Service"


def test_the_chart_tests_the_edge_or_what_stands_before_it(helm: str) -> None:
    def asked(*more: str) -> str:
        (pod,) = of_kind(rendered(helm, TRY, *more), "Pod").values()
        return str(pod["spec"]["containers"][0]["env"][0]["value"])

    assert asked() == "http://rel:80"
    assert asked("--set", "test.url=https://code.example.com") == "https://code.example.com"


@each_profile
def test_the_program_of_the_charts_test_is_one(helm: str, profile: Path) -> None:
    (pod,) = of_kind(rendered(helm, profile), "Pod").values()
    (program,) = pod["spec"]["containers"][0]["args"]
    compile(program, "test", "exec")


@each_profile
def test_an_installation_is_made_of_what_the_golden_file_says(helm: str, profile: Path) -> None:
    """What is new, gone or told another setting shows in a review."""
    assert inventory(rendered(helm, profile)) == golden_file(profile).read_text()
