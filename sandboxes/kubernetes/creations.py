"""Names of pods that are asked for: one whose answer was lost is asked for again, and no other in its place.

An answer is lost to a timeout, to an API server that dies, or to the end of our own lease. Whether the pod
was made is not known then; asked for by the same name, the server makes it or says that it is there.
"""

import secrets
from collections.abc import Container


class Creations:
    """What one pool process has asked for."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._unanswered: dict[str, str] = {}
        """Name to language."""
        self._asked: set[str] = set()
        """Those of them that are being asked for now."""

    def begin(self, language: str) -> str:
        """Return the name to ask for a pod by: an unanswered one, if there is one."""
        again = (name for name, its in self._unanswered.items() if its == language)
        name = next((name for name in again if name not in self._asked), "")
        name = name or f"{self._instance}-{language}-{secrets.token_hex(5)}"
        self._unanswered[name] = language
        self._asked.add(name)
        return name

    def end(self, name: str, *, is_answered: bool) -> None:
        """Note that it is asked for no longer, and whether it is known what became of it."""
        self._asked.discard(name)
        if is_answered:
            self._unanswered.pop(name, None)

    def saw(self, pods: Container[str]) -> None:
        """Forget those that are there."""
        self._unanswered = {name: language for name, language in self._unanswered.items() if name not in pods}
