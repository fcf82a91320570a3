"""Values that must not print. What is not printable cannot end up in a log, a trace or an error."""

import hmac
from urllib.parse import unquote, urlsplit, urlunsplit

MASK = "****"


class Secret:
    """A text that shows itself only when asked by name: `reveal()`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself. Do not log, store or echo it."""
        return self._text

    def masked(self) -> str:
        """Return what may be shown instead."""
        return MASK

    def hidden(self) -> tuple[str, ...]:
        """Return the parts that must not show, to strike them out of what others write. Keep them there."""
        return (self._text,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.masked()!r})"

    def __str__(self) -> str:
        return self.masked()

    def __eq__(self, other: object) -> bool:
        """Compare in constant time; a plain string never equals a secret."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_encoded(self._text), _encoded(other._text))

    def __hash__(self) -> int:
        return hash((Secret, self._text))


class SecretUrl(Secret):
    """A URL of which everything but the user's name and password may be shown."""

    __slots__ = ()

    def masked(self) -> str:
        return mask_url(self.reveal())

    def hidden(self) -> tuple[str, ...]:
        """Return user part, password, query and fragment: where the server is may be said."""
        try:
            parts = urlsplit(self.reveal())
        except ValueError:
            return (self.reveal(),)
        user, at, _ = parts.netloc.rpartition("@")
        password = user.partition(":")[2] or user
        found = (f"{user}{at}", password, unquote(password), parts.query, parts.fragment)
        return tuple(part for part in found if part)


def mask_url(url: str) -> str:
    """Return `url` with the password, or the whole user part if it has no colon, replaced.

    Query and fragment go too: clients accept passwords there.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = (f"{name}:{MASK}" if colon else MASK) if at else ""
    query = MASK if parts.query else ""
    fragment = MASK if parts.fragment else ""
    return urlunsplit((parts.scheme, f"{shown}{at}{host}", parts.path, query, fragment))


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
