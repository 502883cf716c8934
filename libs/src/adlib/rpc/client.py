"""The client for calls to another service."""

import json
import time
from collections.abc import Sequence
from typing import Protocol, TypeVar

import grpc
from adplatform.errors.v1.errors_pb2 import ErrorReason
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from adlib import telemetry
from adlib.deadline import deadline
from adlib.errors import AppError, DeadlineExceeded, Internal, RemoteError, Unavailable
from adlib.identity import ServiceIdentity
from adlib.telemetry import logger

_DEADLINE_MARGIN_S = 0.05
# Codes of errors that the client's request caused, which are passed on; all others are faults of the platform.
_PASSED_ON_CODES = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
    }
)
_REASONS = frozenset(ErrorReason.keys())
# Every internal call can be retried: reads change nothing, and calls that move money carry an idempotency key.
_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)

_log = logger(__name__)

Req = TypeVar("Req", contravariant=True)
Res = TypeVar("Res", covariant=True)


class Method(Protocol[Req, Res]):
    """A method of a generated stub."""

    def __call__(
        self, request: Req, timeout: float | None = None, metadata: tuple[tuple[str, str], ...] | None = None
    ) -> Res:
        """Calls the method."""
        ...


class Remote:
    """A channel to another service; calls carry this service's identity, the caller's deadline and the request id."""

    def __init__(self, name: str, targets: str, identity: ServiceIdentity | None, *, timeout_s: float = 5.0) -> None:
        """`targets` is host:port[,host:port…], one for each worker process of the service."""
        self.name = name
        self._identity = identity
        self._timeout_s = timeout_s
        addresses: Sequence[str] = targets.split(",")
        numeric = all(address.replace(".", "").replace(":", "").isdigit() for address in addresses)
        self.channel = grpc.insecure_channel(
            f"ipv4:{targets}" if numeric else f"dns:///{addresses[0]}",
            options=[
                ("grpc.service_config", _SERVICE_CONFIG),
                ("grpc.enable_retries", 1),
                ("grpc.max_reconnect_backoff_ms", 1_000),
                ("grpc.initial_reconnect_backoff_ms", 100),
            ],
        )

    def close(self) -> None:
        """Closes the channel."""
        self.channel.close()

    def call(self, method: Method[Req, Res], request: Req, *, within_s: float = float("inf")) -> Res:
        """Calls the method and returns its answer; `within_s` limits the time.

        Raises RemoteError for an error that the client caused, Unavailable, DeadlineExceeded, and Internal for all
        other errors.
        """
        timeout = min(self._timeout_s, within_s, deadline.get() - time.monotonic() - _DEADLINE_MARGIN_S)
        if timeout <= 0:
            raise DeadlineExceeded("the deadline of the call has passed")
        try:
            return method(request, timeout=timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            raise self._translated(error) from error

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        headers = [("x-request-id", telemetry.request_id.get()), ("traceparent", telemetry.traceparent.get())]
        if self._identity is not None:
            headers.append(("authorization", f"Bearer {self._identity.token(self.name)}"))
        return tuple(header for header in headers if header[1])

    def _translated(self, error: grpc.RpcError) -> AppError:
        code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
        # grpcio answers RESOURCE_EXHAUSTED when the server has reached its limit of concurrent calls.
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
            return Unavailable(f"{self.name} does not answer; try again")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{self.name} took too long; try again")
        status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
        info = ErrorInfo()
        has_info = status is not None and any(detail.Unpack(info) for detail in status.details)
        if status and has_info and code in _PASSED_ON_CODES and info.reason in _REASONS:
            return RemoteError(code, ErrorReason.Value(info.reason), status.message, info.metadata)
        _log.error("remote_refused", service=self.name, code=code.name, error=str(error))
        return Internal()
