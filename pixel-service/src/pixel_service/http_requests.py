"""Requests to the tracking URLs."""

import time
from collections.abc import AsyncIterator
from typing import Final, Protocol

from adplatform.errors.v1.errors_pb2 import ErrorReason
from adplatform.events.v1.events_pb2 import CollectedRequest
from granian.rsgi import Scope

from adlib.errors import InvalidArgument, InvalidField

MAX_BODY_BYTES = 64 * 1024

# In characters. Real requests are shorter; a longer part is truncated.
_MAX_PATH, _MAX_QUERY, _MAX_USER_AGENT, _MAX_REFERRER, _MAX_ADDRESS = 256, 4096, 512, 2048, 64
_NANOSECONDS: Final = 1_000_000_000


class Exchange(Protocol):
    """Granian's RSGI protocol object: the request's body and the response."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Sends the response."""
        ...


class BodyTooLarge(InvalidArgument):
    """A body over 64 KiB."""

    reason = ErrorReason.REQUEST_TOO_LARGE

    def __init__(self) -> None:
        super().__init__(f"the body is larger than {MAX_BODY_BYTES} bytes")


class HttpRequest:
    """One request. Behind a trusted proxy its headers name the client; without one, clients could forge them."""

    __slots__ = ("_exchange", "_is_proxied", "_scope", "method", "path")

    def __init__(self, scope: Scope, exchange: Exchange, *, is_proxied: bool) -> None:
        self._scope = scope
        self._exchange = exchange
        self._is_proxied = is_proxied
        self.method: str = scope.method
        self.path: str = scope.path

    @property
    def query(self) -> str:
        """The query, percent-encoded and without the question mark."""
        return str(self._scope.query_string)

    @property
    def user_agent(self) -> str:
        """The header, truncated."""
        return str(self._scope.headers.get("user-agent", ""))[:_MAX_USER_AGENT]

    @property
    def referrer(self) -> str:
        """The header, truncated."""
        return str(self._scope.headers.get("referer", ""))[:_MAX_REFERRER]

    @property
    def client_address(self) -> str:
        """The client's IP address, without a port."""
        if self._is_proxied:
            header = self._scope.headers.get
            if forwarded := header("x-envoy-external-address") or header("x-forwarded-for"):
                return str(forwarded).rpartition(",")[2].strip()[:_MAX_ADDRESS]
        return str(self._scope.client).rpartition(":")[0]

    def collected(self) -> CollectedRequest:
        """The request as the collector stores it, received now and without ids."""
        collected = CollectedRequest(
            path=self.path[:_MAX_PATH],
            query=self.query[:_MAX_QUERY],
            remote_address=self.client_address,
            user_agent=self.user_agent,
            referrer=self.referrer,
        )
        collected.time.seconds, collected.time.nanos = divmod(time.time_ns(), _NANOSECONDS)
        return collected

    async def body(self) -> bytes:
        """The body; BodyTooLarge as early as possible, INVALID_FIELD if it has a content encoding."""
        headers = self._scope.headers
        encodings = [value.lower() for name, value in headers.items() if name == "content-encoding"]
        if encodings not in ([], ["identity"]):
            raise InvalidField("content-encoding", "is not taken here; send the body without an encoding")
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
            raise BodyTooLarge
        body = b""
        async for chunk in self._exchange:
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLarge
        return body

    async def text(self) -> str:
        """The body as UTF-8 text; INVALID_FIELD."""
        try:
            return (await self.body()).decode()
        except UnicodeDecodeError:
            raise InvalidArgument("the body is not UTF-8 text") from None
