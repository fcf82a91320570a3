"""The simulation breaks so much, so often, that its log would only hide what matters."""

import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def silence():
    """Nothing below an error of the test itself is said."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(wrapper_class=before)
