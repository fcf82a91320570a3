"""What uvloop says of a connection that was closed while something was on its way into it.

It says so in a RuntimeError, which no client library takes for a server that is away. Whoever owns a client
asks here, and says it in the words of that client.
"""


def is_closed(error: RuntimeError) -> bool:
    """Whether `error` is no mistake of ours but a connection that is gone."""
    return "handler is closed" in str(error)
