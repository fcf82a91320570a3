"""The pool on a real API server, by the very tests that it passes on the fake one.

Its watches, conflicts, preconditions and deletions are the real ones; what nodes do to pods is played.
"""

from collections.abc import AsyncIterator

import pytest

from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.claims import Claims
from tests.cluster.api_with_kubelet import ApiWithKubelet
from tests.cluster.conftest import new_namespace
from tests.cluster.kubernetes import Cluster
from tests.sandboxes.pods import test_pool
from tests.sandboxes.pods.conftest import claims as claims  # noqa: PLC0414 - a fixture
from tests.sandboxes.pods.test_pool_crashes import crash_and_go_on

pytestmark = pytest.mark.cluster("api")

test_it_fills = test_pool.test_it_fills_each_language_to_its_size
test_no_more_than_the_batch_start = test_pool.test_no_more_than_the_batch_start_at_a_time
test_a_taken_pod_is_replaced = test_pool.test_a_taken_pod_is_replaced_at_once
test_it_adopts_what_is_there = test_pool.test_it_adopts_what_is_there
test_it_adopts_also_without_the_register = test_pool.test_it_adopts_also_when_the_register_is_gone
test_other_settings_replace_the_pods = test_pool.test_other_settings_replace_the_pods
test_a_broken_pod_is_replaced = test_pool.test_a_broken_pod_is_replaced
test_a_pod_deleted_by_hand_is_replaced = test_pool.test_a_pod_deleted_by_hand_is_replaced
test_the_pod_of_a_dead_handler_is_deleted = test_pool.test_the_pod_of_a_dead_handler_is_deleted
test_the_pod_of_a_living_handler_is_not = test_pool.test_the_pod_of_a_living_handler_is_not
test_a_pod_that_waited_too_long_is_replaced = test_pool.test_a_pod_that_waited_too_long_is_replaced
test_a_pool_that_cannot_fill_says_why = test_pool.test_a_pool_that_cannot_fill_says_why_and_does_not_hurry


@pytest.fixture
async def cluster(cluster: Cluster) -> AsyncIterator[ApiWithKubelet]:
    """The real API, in the fake one's place."""
    with new_namespace(cluster) as namespace:
        async with ApiWithKubelet(cluster, namespace) as played:
            yield played


@pytest.fixture
async def api(cluster: ApiWithKubelet) -> AsyncIterator[KubernetesApi]:
    """The pool's client."""
    client = await cluster.open()
    yield client
    await client.aclose()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(1, 40, 4))
async def test_a_crash_leaves_nothing_behind(
    cluster: ApiWithKubelet, api: KubernetesApi, claims: Claims, step: int, after: bool
) -> None:
    await crash_and_go_on(cluster, api, claims, step, after=after)
