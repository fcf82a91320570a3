"""Bytes read or written not long ago, within bounds: what is still the same need not travel again."""

from collections import OrderedDict


class Recent:
    """The newest values by name, at most `bytes_max` of them together; 0 keeps nothing."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[str, bytes]] = OrderedDict()

    def etag(self, name: str) -> str:
        """Return the ETag of what is kept of `name`, or an empty string."""
        return self._kept.get(name, ("", b""))[0]

    def get(self, name: str, etag: str) -> bytes | None:
        """Return the value of `name` if it is the one with this ETag."""
        known, data = self._kept.get(name, ("", b""))
        return data if known and known == etag else None

    def keep(self, name: str, etag: str, data: bytes) -> None:
        """Keep a value in place of the one before, and of those that were kept longest without need."""
        self.forget(name)
        if len(data) > self._bytes_max // 4:  # one alone shall not push out all others
            return
        self._kept[name] = etag, data
        self._bytes += len(data)
        while self._bytes > self._bytes_max:
            self.forget(next(iter(self._kept)))

    def forget(self, name: str) -> None:
        """Let go of a value."""
        if name in self._kept:
            self._bytes -= len(self._kept.pop(name)[1])
