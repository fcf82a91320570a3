"""A megabyte of variables restored before a run and saved after it, over what the run itself takes."""

import pickle
import random
from collections.abc import Iterator

from measure import Samples, sample
from rows import Row
from service import Service

MEGABYTE = "import random\nnumbers = [random.random() for _ in range(116_000)]"
"""Each takes nine bytes in a pickle."""
CHANGE = "numbers[0] += 1"
"""What did not change would not be stored again."""


def measure(service: Service) -> Iterator[Row]:
    """Yield the rows: against the budget in milliseconds, and against pickling the same in process."""
    service.run_in_session("bench-small", "x = 1")
    saved = service.run_in_session("bench-large", MEGABYTE)["state"]
    assert isinstance(saved, dict) and saved["size_bytes"] > 1_000_000, saved
    small = sample(lambda: service.run_in_session("bench-small", "pass"), 60)
    large = sample(lambda: service.run_in_session("bench-large", CHANGE), 60)
    beside = large.p50 - small.p50
    yield Row("1 MB of state restored and saved", beside, 10.0, "ms", 1.0)
    yield Row("the same over pickling it in process", beside, _pickled().p50, "ms", 2.0)


def _pickled() -> Samples:
    numbers = [random.random() for _ in range(116_000)]
    return sample(lambda: pickle.loads(pickle.dumps(numbers, pickle.HIGHEST_PROTOCOL)), 60)
