"""What the pool decides in every situation, without a cluster."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sandboxes.kubernetes.plan import Plan, Scene, make_plan
from sandboxes.kubernetes.pod_state import PodState

NOW = datetime(2026, 11, 28, tzinfo=UTC)
FRESH = PodState(
    name="a",
    uid="uid-a",
    language="py",
    template="today",
    holder="",
    address="10.0.0.1",
    created_at=NOW - timedelta(seconds=5),
    is_ready=True,
    ready_changed_at=NOW - timedelta(seconds=3),
    secret_sha256="a",
    is_over=False,
    is_deleting=False,
    trouble="",
)


def plan(pod: PodState, state: str = "", *, gone: bool = False, size: int = 1) -> Plan:
    return plan_all({pod.name: pod}, {pod.name: state} if state else {}, gone=gone, size=size)


def plan_all(
    pods: Mapping[str, PodState], states: Mapping[str, str], *, gone: bool = False, size: int = 1
) -> Plan:
    scene = Scene(
        pods=pods,
        states=states,
        gone=lambda _holder: gone,
        sizes={"py": size},
        templates={"py": "today"},
        digest=lambda name: name,
        now=NOW,
        start_timeout_s=60.0,
        idle_s_max=3600.0,
    )
    return make_plan(scene)


def deletions(made: Plan) -> dict[str, str]:
    return {pod.name: verdict.why for pod, verdict in made.delete}


def test_a_ready_pod_that_nobody_knows_is_registered() -> None:
    """Whoever made it: a pool that was killed after it, or another leader."""
    made = plan(FRESH)
    assert ([pod.name for pod in made.register], made.ready["py"], made.delete) == (["a"], 1, [])


def test_a_ready_pod_that_waits_is_left_alone() -> None:
    made = plan(FRESH, "ready")
    assert (made.register, made.ready["py"], made.delete) == ([], 1, [])


def test_a_claimed_pod_is_left_to_its_handler_whatever_its_template() -> None:
    made = plan(replace(FRESH, template="yesterday", is_ready=False), "claimed:h")
    assert (made.register, made.ready["py"], made.delete) == ([], 0, [])


def test_a_pod_whose_handler_died_is_deleted() -> None:
    assert deletions(plan(FRESH, "claimed:h", gone=True)) == {"a": "its handler died"}


def test_a_used_pod_is_deleted_even_if_it_looks_ready() -> None:
    assert deletions(plan(FRESH, "spent")) == {"a": "it was used"}


@pytest.mark.parametrize("state", ["", "ready"])
def test_a_pod_of_other_settings_is_replaced(state: str) -> None:
    made = plan(replace(FRESH, template="yesterday"), state)
    assert deletions(made) == {"a": "it was made from other settings"}
    assert made.ready["py"] == 0


def test_a_pod_whose_secret_nobody_knows_any_more_is_replaced() -> None:
    """Redis was flushed: what secrets were made from is gone."""
    assert "a" in deletions(plan(replace(FRESH, secret_sha256="another")))


def test_a_pod_of_a_language_without_a_pool_is_deleted() -> None:
    assert "a" in deletions(plan(replace(FRESH, language="r")))


@pytest.mark.parametrize("state", ["", "ready"])
def test_a_pod_that_is_over_is_a_failure_and_says_why(state: str) -> None:
    made = plan(replace(FRESH, is_over=True, is_ready=False, trouble="Evicted: no memory"), state)
    assert deletions(made) == {"a": "Evicted: no memory"}
    assert made.delete[0][1].is_failure
    assert made.trouble == {"py": "Evicted: no memory"}


def test_a_pod_that_waited_too_long_is_replaced() -> None:
    old = replace(FRESH, created_at=NOW - timedelta(seconds=3601))
    assert deletions(plan(old, "ready")) == {"a": "it has waited for too long"}


def test_a_starting_pod_counts_and_tells_what_hinders_it() -> None:
    made = plan(replace(FRESH, is_ready=False, trouble="ErrImagePull: no such image"))
    assert (made.starting["py"], made.trouble["py"]) == (1, "ErrImagePull: no such image")
    assert made.delete == []


def test_a_pod_that_does_not_get_ready_is_given_up() -> None:
    late = replace(FRESH, is_ready=False, created_at=NOW - timedelta(seconds=61))
    assert deletions(plan(late)) == {"a": "it was not ready within 60 s"}
    assert plan(late).delete[0][1].is_failure


def test_a_late_probe_is_forgiven_for_a_while() -> None:
    unready = replace(FRESH, is_ready=False)
    assert plan(unready, "ready").delete == []
    long_unready = replace(unready, ready_changed_at=NOW - timedelta(seconds=30))
    assert deletions(plan(long_unready, "ready")) == {"a": "it ceased to be ready"}


def test_what_is_going_anyway_counts_for_nothing() -> None:
    made = plan(replace(FRESH, is_deleting=True, is_over=True), "ready")
    assert (made.delete, made.ready["py"], made.forget) == ([], 0, [])


def test_a_pod_that_is_no_more_is_forgotten() -> None:
    assert plan_all({}, {"gone": "claimed:h", "b": "ready"}).forget == ["gone", "b"]


def test_more_than_wanted_are_deleted_the_newest_first() -> None:
    pods = {
        name: replace(FRESH, name=name, secret_sha256=name, created_at=NOW - timedelta(seconds=age))
        for name, age in (("old", 30), ("middle", 20), ("new", 10))
    }
    made = plan_all(pods, {"old": "ready"}, size=2)
    assert list(deletions(made)) == ["new"]
    assert [pod.name for pod in made.register] == ["middle"]


def test_of_more_than_wanted_one_that_starts_goes_before_one_that_waits() -> None:
    starting = replace(
        FRESH, name="b", secret_sha256="b", is_ready=False, created_at=NOW - timedelta(seconds=9)
    )
    made = plan_all({"a": FRESH, "b": starting}, {"a": "ready"})
    assert (list(deletions(made)), made.ready["py"]) == (["b"], 1)


def test_a_claimed_pod_that_is_over_is_its_handlers_for_a_while() -> None:
    over = replace(FRESH, is_over=True, trouble="OOMKilled")
    assert plan(over, "claimed:h").delete == []
    left = replace(over, ready_changed_at=NOW - timedelta(seconds=200))
    assert "a" in deletions(plan(left, "claimed:h"))
