"""Names that are nearly settings. A misspelt name would otherwise be ignored without a word.

A process has many variables that are none of our business, so only two kinds are looked at: those in our
own `.env` file, and those in the environment that begin like one of ours.
"""

import difflib
import re
from collections.abc import Iterator

from infra.settings.catalogue import SETTINGS
from infra.settings.environment import BESIDE, Texts
from infra.settings.faults import Fault

_TYPO_RATIO = 0.86
"""difflib ratio from which a name is taken for a misspelt one: two letters swapped in eight are 0.875."""
_HINT_RATIO = 0.6
_OWN = "MILLRACE_"
FROM_KUBERNETES = ("tcp://", "udp://", "sctp://")
"""How the value of NAME_PORT begins, which Kubernetes sets in every pod for every Service."""
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_.*)?)")
"""What else it sets; for a Service named millrace-edge they begin like ours."""
_BEGINNINGS = tuple({f"{name.split('_', 1)[0]}_" for name in SETTINGS if "_" in name})
_KNOWN = (*SETTINGS, *BESIDE)


def find_typos(texts: Texts) -> Iterator[Fault]:
    """Yield a fault for each name that is unknown and too near a known one, or begins with MILLRACE_."""
    for name in _suspects(texts):
        nearest = _nearest(name.upper(), _TYPO_RATIO)
        if nearest or name.upper().startswith(_OWN):
            hint = nearest or _nearest(name.upper(), _HINT_RATIO)
            yield Fault(name, "", "is not a setting", nearest=hint)


def _suspects(texts: Texts) -> list[str]:
    begins_like_ours = {name for name in texts.environ if name.upper().startswith(_BEGINNINGS)}
    unknown = (begins_like_ours | set(texts.file)) - set(_KNOWN)
    return sorted(name for name in unknown if not _is_service_link(name, texts.find(name)))


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name)) or (
        name.endswith("_PORT") and value.startswith(FROM_KUBERNETES)
    )


def _nearest(name: str, ratio: float) -> str:
    return next(iter(difflib.get_close_matches(name, _KNOWN, n=1, cutoff=ratio)), "")
