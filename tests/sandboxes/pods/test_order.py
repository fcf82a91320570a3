"""What a sidecar is asked to run."""

import pytest

from sandboxes.kubernetes.order import limits_in_pod, run_order
from sandboxes.languages import recipe_for
from sandboxes.protocol import Program
from schemas.limits import Limits, SandboxLimits
from tests.sandboxes.pods.conftest import config_of


@pytest.mark.parametrize(("asked", "held"), [(None, 0), (64.0, 0), (0.5, 0), (0.2, 0.2)])
def test_the_agent_holds_a_run_to_fewer_cpus_only_where_the_request_wants_fewer(
    asked: float | None, held: float
) -> None:
    """The container's own limit is the wall for everybody else."""
    config, recipe = config_of({}).pod, recipe_for("py")
    wanted = SandboxLimits().lowered_by(Limits(cpus=asked))
    limits = limits_in_pod(wanted, recipe, config)
    order = run_order(recipe, recipe.steps("", "/program"), Program(""), limits, config, "x86_64")
    assert order["limits"]["cpus"] == held
