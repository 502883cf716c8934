"""Parts of a request to the tracking URLs."""

from collections.abc import AsyncIterator
from typing import Protocol

from adplatform.errors.v1.errors_pb2 import ErrorReason
from granian.rsgi import Scope

from adlib.errors import InvalidArgument, InvalidField

MAX_BODY_BYTES = 64 * 1024


class Exchange(Protocol):
    """One HTTP exchange, as Granian's RSGI has it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answers."""
        ...


class TooLarge(InvalidArgument):
    """A body that no conversion needs."""

    reason = ErrorReason.REQUEST_TOO_LARGE

    def __init__(self) -> None:
        super().__init__(f"the body is larger than {MAX_BODY_BYTES} bytes")


async def body_of(scope: Scope, exchange: Exchange) -> bytes:
    """The request's body; TooLarge as soon as that is known, INVALID_FIELD where it is encoded."""
    encodings = [value.lower() for name, value in scope.headers.items() if name == "content-encoding"]
    if encodings not in ([], ["identity"]):
        raise InvalidField("content-encoding", "is not taken here; send the body without an encoding")
    declared = scope.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise TooLarge
    body = b""
    async for chunk in exchange:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge
    return body


def text_of(body: bytes) -> str:
    """The body as text; INVALID_FIELD."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidArgument("the body is not UTF-8 text") from None


def remote_address(scope: Scope, *, trusted_proxy: bool) -> str:
    """The client's address: what the gateway saw where there is one, since clients write headers of their own."""
    if trusted_proxy:
        header = scope.headers.get
        if seen := header("x-envoy-external-address") or header("x-forwarded-for"):
            return str(seen).rpartition(",")[2].strip()[:64]
    return scope.client.rpartition(":")[0]
