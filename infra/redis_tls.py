"""TLS to Redis: one context for all connections of a client, trusting the authority it is given and no other.

The library makes a context for every connection, and each loads all that the system trusts: some 50 ms of a
busy event loop, and more authorities than the operator named.
"""

import ssl
from dataclasses import dataclass
from typing import Any

from redis.asyncio import SSLConnection

from infra.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class RedisTls:
    """How the server proves itself, and we to it. Paths are of PEM files."""

    ca_file: str | None = None
    """The one authority that is trusted; those of the system where it is None."""
    certificate_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises `Misconfigured`."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            context.check_hostname = self.verify and self.check_hostname
            context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            files = ", ".join(filter(None, (self.ca_file, self.certificate_file, self.key_file)))
            raise Misconfigured(f"TLS to Redis: {files} cannot be used: {error}") from error
        return context


class TlsConnection(SSLConnection):
    """A connection that uses a context somebody else made."""

    def __init__(self, *, tls: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = tls

    async def disconnect(self, *args: Any, **options: Any) -> None:
        # A server that fell silent says no goodbye, for which TLS would wait, and then it would be an error.
        if self._writer is not None:
            self._writer.transport.abort()
        await super().disconnect(*args, **options)
