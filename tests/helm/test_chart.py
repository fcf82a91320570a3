"""The chart for every profile: what Helm, the schemas of Kubernetes and Millrace itself say of it."""

import functools
import json
import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from infra.settings.catalogue import SETTINGS
from infra.settings.load import load_settings
from sandboxes.kubernetes.pod_names import selector
from sandboxes.pod_settings import kubernetes_config
from tests.helm.conftest import CHART, PROFILES, of_kind, rendered, run

VERSIONS = ["1.30", "1.35"]
FOREIGN = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds of operators: Kubernetes has no schema for them."""
WORKLOADS = {"Deployment", "StatefulSet", "Pod"}
TRY, PRODUCTION, NATS = (
    next(each for each in PROFILES if each.stem == name) for name in ("try", "production", "nats")
)

each_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)


def pods_of(things: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [thing for thing in things if thing["kind"] in WORKLOADS]
    return [thing["spec"] if thing["kind"] == "Pod" else thing["spec"]["template"]["spec"] for thing in found]


@each_profile
def test_helm_has_nothing_against_it(helm: str, profile: Path) -> None:
    result = run(helm, "lint", str(CHART), "--strict", "-f", str(profile))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("version", VERSIONS)
@each_profile
def test_kubernetes_knows_every_field(helm: str, profile: Path, version: str) -> None:
    for thing in rendered(helm, profile):
        if thing["kind"] not in FOREIGN:
            validate(json.dumps(thing, sort_keys=True), version)


@functools.cache
def validate(thing: str, version: str) -> None:
    """Raise what the schemas find; profiles share most objects, and a look at one takes long."""
    kubernetes_validate.validate(json.loads(thing), version, strict=True)


@each_profile
def test_millrace_understands_the_settings_that_it_gets(helm: str, profile: Path) -> None:
    """Every fault would keep the processes from starting: secrets stand for themselves here."""
    things = rendered(helm, profile)
    (config,) = of_kind(things, "ConfigMap").values()
    deployment = of_kind(things, "Deployment")["rel-handlers"]["spec"]["template"]["spec"]
    secrets = {each["name"]: "redis://secret:6379" for each in deployment["containers"][0]["env"]}
    settings = load_settings({"MILLRACE_ENV_FILE": os.devnull, **config["data"], **secrets})
    assert settings.millrace_sandbox == "kubernetes"
    assert kubernetes_config(settings).pod.instance == "rel"


@each_profile
def test_every_process_of_ours_is_restricted(helm: str, profile: Path) -> None:
    for spec in pods_of(rendered(helm, profile)):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"]["memory"]


@each_profile
def test_only_handlers_and_pool_have_a_token(helm: str, profile: Path) -> None:
    things = rendered(helm, profile)
    tokens = {
        name: thing["spec"]["template"]["spec"].get("automountServiceAccountToken")
        for name, thing in of_kind(things, "Deployment").items()
    }
    assert tokens == {"rel-edge": False, "rel-handlers": True, "rel-pool": True}
    assert not of_kind(things, "ClusterRole")


@each_profile
def test_no_secret_is_in_any_object(helm: str, profile: Path) -> None:
    """They are named, never held."""
    things = rendered(helm, profile)
    assert not of_kind(things, "Secret")
    (config,) = of_kind(things, "ConfigMap").values()
    told = {name: value for name, value in config["data"].items() if SETTINGS[name].is_secret}
    assert told == ({"NATS_URL": "nats://rel-nats:4222"} if profile == NATS else {})  # it has no password


@each_profile
def test_the_policy_of_the_sandboxes_selects_the_sandboxes(helm: str, profile: Path) -> None:
    """Its labels are those that the pods get."""
    things = rendered(helm, profile)
    policy = of_kind(things, "NetworkPolicy")["rel-sandboxes"]["spec"]
    (config,) = of_kind(things, "ConfigMap").values()
    settings = load_settings(
        {"MILLRACE_ENV_FILE": os.devnull, "MILLRACE_INSTANCE": config["data"]["MILLRACE_INSTANCE"]}
    )
    pods = selector(kubernetes_config(settings).pod, "pool")
    labels = policy["podSelector"]["matchLabels"]
    assert all(f"{name}={value}" in pods.split(",") for name, value in labels.items())
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = policy["ingress"]
    assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "handlers"


def test_sandboxes_reach_nothing_unless_the_settings_let_them(helm: str) -> None:
    def egress(*more: str) -> Any:
        return of_kind(rendered(helm, TRY, *more), "NetworkPolicy")["rel-sandboxes"]["spec"]["egress"]

    assert egress() == []
    world, names = egress("--set", "settings.ENABLE_NETWORK_ISOLATION=false")
    assert "10.0.0.0/8" in world["to"][0]["ipBlock"]["except"]
    assert {port["port"] for port in names["ports"]} == {53}


def test_quota_and_limits_bind_the_sandboxes_and_nobody_else(helm: str) -> None:
    """In the service's own namespace they would keep the service from starting."""
    assert not of_kind(rendered(helm, TRY), "ResourceQuota")
    things = rendered(helm, PRODUCTION)
    (quota,) = of_kind(things, "ResourceQuota").values()
    assert quota["metadata"]["namespace"] == "millrace-sandboxes"
    (made,) = of_kind(things, "Namespace").values()
    assert made["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_scaling_is_by_what_waits_and_for_how_long(helm: str) -> None:
    (scaled,) = of_kind(rendered(helm, PRODUCTION), "ScaledObject").values()
    queries = " ".join(trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"])
    assert "millrace_queue_waiting" in queries
    assert "millrace_queue_oldest_seconds" in queries
    assert "replicas" not in of_kind(rendered(helm, PRODUCTION), "Deployment")["rel-handlers"]["spec"]
    assert of_kind(rendered(helm, TRY), "Deployment")["rel-handlers"]["spec"]["replicas"] == 1


def test_alerts_and_scaling_ask_for_metrics_that_the_edge_has(helm: str) -> None:
    import re

    sources = "".join(path.read_text() for path in (CHART.parents[2] / "edge").glob("*metrics.py"))
    known = set(re.findall(r'"(millrace_\w+)"', sources))
    asked = set(re.findall(r"millrace_\w+", json.dumps(rendered(helm, PRODUCTION))))
    asked = {name.removesuffix("_total") for name in asked if not name.startswith("millrace_trusted")}
    assert asked & known == asked != set()


def test_a_misspelt_setting_is_refused(helm: str) -> None:
    result = run(helm, "template", "rel", str(CHART), "-f", str(TRY), "--set", "settings.POD_POOL_PYY=1")
    assert result.returncode != 0
    assert "POD_POOL_PYY" in result.stderr


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("settings.POD_POOL_PY=many", "integer"),
        ("settings.API_KEY=x", "API_KEY"),
        ("edge.replica=1", "replica"),
    ],
)
def test_a_wrong_value_is_refused(helm: str, setting: str, says: str) -> None:
    result = run(helm, "template", "rel", str(CHART), "-f", str(TRY), "--set", setting)
    assert result.returncode != 0
    assert says in result.stderr


def test_what_must_be_said_is_asked_for(helm: str) -> None:
    bare = run(helm, "template", "rel", str(CHART), "--kube-version", "1.35.0")
    assert "secrets.API_KEY" in bare.stderr
    keyed = [f"secrets.API_KEY.{part}=x" for part in ("name", "key")]
    words = ["template", "rel", str(CHART), "--kube-version", "1.35.0", "--set", ",".join(keyed)]
    assert "settings.REDIS_HOST" in run(helm, *words).stderr


def test_the_schema_has_every_setting_and_every_value_of_the_chart() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    parts = schema["properties"]
    secret = {name for name, setting in SETTINGS.items() if setting.is_secret}
    assert set(parts["settings"]["properties"]) == SETTINGS.keys() - secret
    assert set(parts["secrets"]["properties"]) == secret
    assert _paths(yaml.safe_load((CHART / "values.yaml").read_text())) <= _known(schema)


def test_every_setting_in_the_values_may_be_given_as_the_schema_says(helm: str, tmp_path: Path) -> None:
    """Numbers, lists and objects reach the processes as the texts that they understand."""
    given = {
        "MAX_MEMORY_MB": 1024,
        "MILLRACE_LEASE_SECONDS": 7.5,
        "ENABLE_CORS": True,
        "CORS_ORIGINS": ["https://a.example", "https://b.example"],
        "GKE_SANDBOX_NODE_SELECTOR": {"a": "b"},
        "GKE_SANDBOX_CUSTOM_TOLERATIONS": [{"key": "k", "operator": "Exists"}],
        "MILLRACE_LOG_BYTES_MAX": 1099511627776,
    }
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps({"settings": given}))
    (config,) = of_kind(rendered(helm, TRY, "-f", str(values)), "ConfigMap").values()
    settings = load_settings({"MILLRACE_ENV_FILE": os.devnull, **config["data"]})
    assert settings.max_memory_mb == 1024
    assert settings.millrace_lease_seconds == 7.5
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.gke_sandbox_node_selector == {"a": "b"}
    assert settings.gke_sandbox_custom_tolerations == [{"key": "k", "operator": "Exists"}]
    assert settings.millrace_log_bytes_max == 1099511627776


def _paths(values: dict[str, Any], before: str = "") -> set[str]:
    """Return the path of every value that is no object of free keys."""
    found: set[str] = set()
    for name, value in values.items():
        path = f"{before}.{name}".strip(".")
        nested = isinstance(value, dict) and value and path not in ("settings", "secrets")
        found |= _paths(value, path) if nested and name not in ("requests", "limits") else {path}
    return found


def _known(schema: dict[str, Any], before: str = "") -> set[str]:
    found: set[str] = {before} if before else set()
    for name, inner in schema.get("properties", {}).items():
        found |= _known(inner, f"{before}.{name}".strip("."))
    return found
