"""The pod that settings ask for, to the letter, and what Kubernetes itself says of it."""

from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from sandboxes.kubernetes.job_manifest import job_manifest
from sandboxes.kubernetes.pod_manifest import pod_manifest, template_of
from sandboxes.kubernetes.quantities import bytes_of, times
from sandboxes.languages import RECIPES
from sandboxes.pod_settings import kubernetes_config
from tests.sandboxes.pods.examples import GOLDEN, IDENTITY, JOBS, PODS, example, settings_of, text

ALL = PODS | JOBS
LANGUAGES = [recipe.code for recipe in RECIPES]
VERSIONS = ["1.30", "1.35"]
"""The oldest we promise to run on, and the one that the tests run."""


def spec_of(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["template"]["spec"] if manifest["kind"] == "Job" else manifest["spec"]


def container(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    spec = spec_of(manifest)
    return next(each for each in spec["initContainers"] + spec["containers"] if each["name"] == name)


@pytest.mark.parametrize("name", ALL)
def test_a_pod_is_what_the_golden_file_says(name: str) -> None:
    """`python -m tests.sandboxes.pods.examples` writes them again: look at the difference before."""
    assert text(example(name)) == (GOLDEN / f"{name}.json").read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(ALL)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ALL)
def test_kubernetes_knows_every_field(name: str, version: str) -> None:
    kubernetes_validate.validate(example(name), version, strict=True)


def test_the_schema_refuses_a_misspelt_field() -> None:
    """Else the test above could not fail."""
    pod = example("py")
    pod["spec"]["automountServiceAccountTokn"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_a_pod_and_a_job(language: str) -> None:
    pod = kubernetes_config(settings_of({})).pod
    for manifest in (
        pod_manifest(language, pod, IDENTITY),
        job_manifest(language, pod, IDENTITY, "handler"),
    ):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_agent_mode_is_restricted(language: str) -> None:
    """Pod Security's level `restricted`, read off the standard."""
    manifest = pod_manifest(language, kubernetes_config(settings_of({})).pod, IDENTITY)
    spec = spec_of(manifest)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys()
    assert all(volume.keys() == {"name", "emptyDir"} for volume in spec["volumes"])
    for each in spec["initContainers"] + spec["containers"]:
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_without_a_limit(name: str) -> None:
    manifest = example(name)
    spec = spec_of(manifest)
    for each in spec["initContainers"] + spec["containers"]:
        for part in ("requests", "limits"):
            assert each["resources"][part].keys() == {"cpu", "memory", "ephemeral-storage"}
    assert all(volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"])
    assert spec["activeDeadlineSeconds"] > 0


@pytest.mark.parametrize("name", ALL)
def test_a_pod_has_no_way_to_the_cluster(name: str) -> None:
    spec = spec_of(example(name))
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert "serviceAccountName" not in spec


@pytest.mark.parametrize("name", ALL)
def test_no_object_holds_a_secret(name: str) -> None:
    """Who may read pods may not run code in them: only the secret's digest is there."""
    assert [entry["name"] for entry in container(example(name), "language")["env"]] == ["K8S_EXECUTOR_PORT"]
    sidecar = {entry["name"]: entry["value"] for entry in container(example(name), "sidecar")["env"]}
    assert sidecar["MILLRACE_SECRET_SHA256"] == IDENTITY.secret_sha256


def test_without_network_nothing_can_be_resolved() -> None:
    spec = spec_of(example("py"))
    assert (spec["dnsPolicy"], spec["dnsConfig"]["nameservers"]) == ("None", ["127.0.0.1"])
    assert spec_of(example("py-network"))["dnsPolicy"] == "Default"


@pytest.mark.parametrize(("language", "factor"), [(recipe.code, recipe.memory_factor) for recipe in RECIPES])
def test_memory_grows_with_the_language(language: str, factor: float) -> None:
    pod = kubernetes_config(settings_of({})).pod
    resources = container(pod_manifest(language, pod, IDENTITY), "language")["resources"]
    assert bytes_of(resources["limits"]["memory"]) == bytes_of(pod.memory_limit) * factor
    assert bytes_of(resources["requests"]["memory"]) == bytes_of(pod.memory_request) * factor


def test_in_nsenter_mode_the_sidecar_has_the_limits_of_the_code() -> None:
    """What it starts in the language container stays in its own control group."""
    manifest = example("py-nsenter")
    assert container(manifest, "sidecar")["resources"]["limits"]["memory"] == "512Mi"
    assert container(manifest, "language")["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec_of(manifest)["shareProcessNamespace"] is True


def test_gvisor_brings_its_class_and_nodes_only_when_enabled() -> None:
    spec = spec_of(example("py-gvisor"))
    assert spec["runtimeClassName"] == "gvisor"
    assert spec["nodeSelector"] == {"sandbox.gke.io/runtime": "gvisor"}
    assert spec["tolerations"][0]["key"] == "sandbox"
    plain = spec_of(example("py"))
    assert not {"runtimeClassName", "nodeSelector", "tolerations"} & plain.keys()


def test_own_images_stand_for_those_that_are_not_named() -> None:
    images = [container(example("js-private-images"), name)["image"] for name in ("sidecar", "language")]
    root = "registry.example/team/millrace"
    assert images == [f"{root}/millrace-sidecar-agent:1.2.3", f"{root}/millrace-js:1.2.3"]
    assert container(example("go-private-images"), "language")["image"] == "registry.example/go:1.26"
    assert container(example("py-nsenter"), "sidecar")["image"] == "millrace-sidecar-nsenter:latest"


def test_every_setting_changes_the_template() -> None:
    """A pod made from older settings is known by its label."""
    made = {name: template_of(*_config(name)) for name in PODS}
    alike = [name for name in PODS if PODS[name][0] == "py"]
    assert len({made[name] for name in alike}) == len(alike)


def test_the_template_does_not_depend_on_which_pod_it_is() -> None:
    language, config = _config("py")
    one = pod_manifest(language, config, IDENTITY)
    other = pod_manifest(language, config, replace(IDENTITY, name="other", deadline_s=1, secret_sha256="00"))
    label = "millrace.dev/template"
    assert one["metadata"]["labels"][label] == other["metadata"]["labels"][label]


def test_a_job_runs_once_and_clears_itself_away() -> None:
    job = example("rs-job")["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, IDENTITY.deadline_s)
    assert job["ttlSecondsAfterFinished"] == 60
    assert job["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("quantity", "factor", "result"),
    [("512Mi", 1, "512Mi"), ("512Mi", 1.5, "768Mi"), ("1G", 2, "1908Mi"), ("1.5Gi", 2, "3072Mi")],
)
def test_quantities_are_multiplied(quantity: str, factor: float, result: str) -> None:
    assert times(quantity, factor) == result


def _config(name: str) -> Any:
    language, environment = PODS[name]
    return language, kubernetes_config(settings_of(environment)).pod
