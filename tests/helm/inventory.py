"""What an installation consists of, its objects by name, and the settings they are told.

`python -m tests.helm.inventory` writes the golden files again.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.helm.conftest import PROFILES, helm_here, rendered

_GOLDEN = Path(__file__).with_name("golden")


def golden_file(profile: Path) -> Path:
    """Return where a profile's is kept."""
    return _GOLDEN / f"{profile.stem}.txt"


def inventory(things: Iterable[dict[str, Any]]) -> str:
    """Return the kinds and names of objects, sorted, and what their ConfigMaps say."""
    objects, settings = [], []
    for thing in things:
        where = thing["metadata"].get("namespace", "-")
        objects.append(f"{thing['kind']} {where}/{thing['metadata']['name']}")
        if thing["kind"] == "ConfigMap":
            settings += [f"{name}={value}" for name, value in thing["data"].items()]
    return "\n".join([*sorted(objects), "", *sorted(settings), ""])


if __name__ == "__main__":
    for each in PROFILES:
        golden_file(each).write_text(inventory(rendered(helm_here(), each)))
