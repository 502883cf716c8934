"""The error classes: each has a gRPC code and a reason; the message is written for the client.

A client receives `google.rpc.Status` with `ErrorInfo` (reason, domain "adplatform", metadata) and, where they apply,
`BadRequest` and `RetryInfo`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from adplatform.errors.v1.errors_pb2 import ErrorReason
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

DOMAIN = "adplatform"


@dataclass(frozen=True, slots=True)
class Violation:
    """A field that violates its rule; `field` is its JSON name."""

    field: str
    description: str


class AppError(Exception):
    """An error that is sent to the client."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    reason: ErrorReason.ValueType = ErrorReason.INTERNAL
    retry_after_s: float | None = None

    def __init__(self, message: str, *, violations: Sequence[Violation] = (), **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)
        self.metadata: Mapping[str, str] = {key: str(value) for key, value in metadata.items()}

    def status(self) -> Status:
        """Converts the error to `google.rpc.Status`."""
        status = Status(code=self.code.value[0], message=self.message)
        _pack(status, ErrorInfo(reason=ErrorReason.Name(self.reason), domain=DOMAIN, metadata=self.metadata))
        if self.violations:
            fields = [BadRequest.FieldViolation(field=v.field, description=v.description) for v in self.violations]
            _pack(status, BadRequest(field_violations=fields))
        if self.retry_after_s is not None:
            delay = Duration()
            delay.FromMilliseconds(int(self.retry_after_s * 1000))
            _pack(status, RetryInfo(retry_delay=delay))
        return status


def _pack(status: Status, detail: ErrorInfo | BadRequest | RetryInfo) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)


class InvalidArgument(AppError):
    """The request is invalid, independent of the state of the system."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = ErrorReason.INVALID_FIELD


class InvalidField(InvalidArgument):
    """One field is invalid."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field} {description}", violations=[Violation(field, description)])


class Unauthenticated(AppError):
    """The caller could not be identified."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = ErrorReason.TOKEN_INVALID


class TokenMissing(Unauthenticated):
    """The call needs a token and has none."""

    reason = ErrorReason.TOKEN_MISSING


class TokenInvalid(Unauthenticated):
    """The token is forged, malformed, expired or revoked."""


class ApiKeyInvalid(Unauthenticated):
    """The API key is unknown, expired or revoked, or its creator has left the organization."""

    reason = ErrorReason.API_KEY_INVALID

    def __init__(self) -> None:
        super().__init__("the API key is unknown, expired or revoked; make a new one")


class PermissionDenied(AppError):
    """The caller is identified, but lacks the permission."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = ErrorReason.PERMISSION_MISSING


class NotAMember(PermissionDenied):
    """The caller is not a member of the organization in the organization-id header."""

    reason = ErrorReason.NOT_A_MEMBER


class ApiKeyNotAllowed(PermissionDenied):
    """The RPC serves a person's own data, and does not accept API keys."""

    reason = ErrorReason.API_KEY_NOT_ALLOWED

    def __init__(self) -> None:
        super().__init__("this method serves a person's own data; send their access token instead of an API key")


class AddressNotAllowed(PermissionDenied):
    """The API key cannot be used from the caller's address."""

    reason = ErrorReason.ADDRESS_NOT_ALLOWED

    def __init__(self, address: str) -> None:
        super().__init__("this API key may not be used from your address", address=address)


class ServiceNotAllowed(PermissionDenied):
    """The RPC is for services only, or for other services than the caller."""

    reason = ErrorReason.SERVICE_NOT_ALLOWED


class OrganizationIdRequired(InvalidArgument):
    """The organization-id header is missing or not a UUID."""

    reason = ErrorReason.ORGANIZATION_ID_REQUIRED


class NotFound(AppError):
    """The resource does not exist, or is not visible to the caller."""

    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_UNSPECIFIED


class AlreadyExists(AppError):
    """The resource exists already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = ErrorReason.ERROR_REASON_UNSPECIFIED


class FailedPrecondition(AppError):
    """The request is valid, but not in the current state of the resource."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = ErrorReason.ERROR_REASON_UNSPECIFIED


class EmailNotVerified(FailedPrecondition):
    """The call needs a verified e-mail, because its result would outlive an account made with someone else's e-mail."""

    reason = ErrorReason.EMAIL_NOT_VERIFIED

    def __init__(self) -> None:
        super().__init__(
            "verify your e-mail first: open the link that was mailed to you, in the browser in which you are signed "
            "in, or have it sent again with POST /auth/verify-email/send"
        )


class LimitReached(FailedPrecondition):
    """The maximum number exists already; waiting does not help, deleting one does."""

    reason = ErrorReason.LIMIT_REACHED

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"the limit of {limit} {what} is reached", limit=limit)


class Aborted(AppError):
    """A concurrent call won; the client can retry."""

    code = grpc.StatusCode.ABORTED
    reason = ErrorReason.CONFLICT


class Unavailable(AppError):
    """A dependency does not answer; the client can retry."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = ErrorReason.UNAVAILABLE
    retry_after_s = 1.0


class DeadlineExceeded(AppError):
    """The deadline of the call passed."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = ErrorReason.DEADLINE_EXCEEDED


class Internal(AppError):
    """A fault of the platform; its cause is logged and never sent to the client."""

    def __init__(self) -> None:
        super().__init__("internal error")


class RemoteError(AppError):
    """An error that another service answered, passed on unchanged."""

    def __init__(
        self, code: grpc.StatusCode, reason: ErrorReason.ValueType, message: str, metadata: Mapping[str, str]
    ) -> None:
        super().__init__(message)
        self.metadata = dict(metadata)
        self.code = code
        self.reason = reason
