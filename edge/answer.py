"""The answer to a request on its way out, under the request's name; every ring sees how far it has come."""

from starlette.types import Message, Scope, Send

REQUEST_ID = b"x-request-id"


class Answer:
    """Sends what it is given; one wrapper in place of one for each ring that wants to know."""

    __slots__ = ("_request_id", "_send", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id.encode()
        self.status = 0
        """0 until the answer has begun."""

    async def __call__(self, message: Message) -> None:
        """Send a part of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (REQUEST_ID, self._request_id)]
            message = {**message, "headers": headers}
        await self._send(message)


def answer_to(scope: Scope) -> Answer:
    """Return the answer to a request that has its name."""
    answer: Answer = scope["state"]["answer"]
    return answer
