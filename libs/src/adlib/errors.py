"""One tree of errors. A class is a gRPC code and a reason; the message is a fact in plain words for the client.

What a client sees of an error is `google.rpc.Status` with `ErrorInfo` (reason, domain "adplatform", metadata)
and, where they apply, `BadRequest` and `RetryInfo`.
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
    """One field that breaks its rule; `field` as it is spelled in JSON."""

    field: str
    description: str


class AppError(Exception):
    """An error that a client may see."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    reason: ErrorReason.ValueType = ErrorReason.INTERNAL
    retry_after_s: float | None = None

    def __init__(self, message: str, *, violations: Sequence[Violation] = (), **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)
        self.metadata: Mapping[str, str] = {key: str(value) for key, value in metadata.items()}

    def status(self) -> Status:
        """The error as `google.rpc.Status`."""
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
    """The request is wrong, whatever the state of things."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = ErrorReason.INVALID_FIELD


class InvalidField(InvalidArgument):
    """One field is wrong."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field} {description}", violations=[Violation(field, description)])


class Unauthenticated(AppError):
    """Nobody knows who calls."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = ErrorReason.TOKEN_INVALID


class TokenMissing(Unauthenticated):
    """No token where one is needed."""

    reason = ErrorReason.TOKEN_MISSING


class TokenInvalid(Unauthenticated):
    """Forged, malformed, expired or revoked token."""


class ApiKeyInvalid(Unauthenticated):
    """Unknown, expired or revoked API key, or one whose maker has left."""

    reason = ErrorReason.API_KEY_INVALID

    def __init__(self) -> None:
        super().__init__("the API key is unknown, expired or revoked; make a new one")


class PermissionDenied(AppError):
    """Known, but not allowed."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = ErrorReason.PERMISSION_MISSING


class NotAMember(PermissionDenied):
    """Not a member of the organization named in the header."""

    reason = ErrorReason.NOT_A_MEMBER


class ApiKeyNotAllowed(PermissionDenied):
    """The RPC is about a person's own."""

    reason = ErrorReason.API_KEY_NOT_ALLOWED

    def __init__(self) -> None:
        super().__init__("this is about a person's own and takes their access token, not an API key")


class AddressNotAllowed(PermissionDenied):
    """The API key may not be used from there."""

    reason = ErrorReason.ADDRESS_NOT_ALLOWED

    def __init__(self, address: str) -> None:
        super().__init__("this API key may not be used from your address", address=address)


class ServiceNotAllowed(PermissionDenied):
    """An RPC for services, or for other services than this one."""

    reason = ErrorReason.SERVICE_NOT_ALLOWED


class OrganizationIdRequired(InvalidArgument):
    """The organization-id header is missing or is no UUID."""

    reason = ErrorReason.ORGANIZATION_ID_REQUIRED


class NotFound(AppError):
    """No such thing, or none the caller may know of."""

    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_UNSPECIFIED


class AlreadyExists(AppError):
    """There is one already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = ErrorReason.ERROR_REASON_UNSPECIFIED


class FailedPrecondition(AppError):
    """The request is right, but not in this state of things."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = ErrorReason.ERROR_REASON_UNSPECIFIED


class EmailNotVerified(FailedPrecondition):
    """What the call would make outlives an account whose e-mail is somebody else's."""

    reason = ErrorReason.EMAIL_NOT_VERIFIED

    def __init__(self) -> None:
        super().__init__(
            "verify your e-mail first: open the link that was mailed to you, in the browser in which you are signed "
            "in, or have it sent again with POST /auth/verify-email/send"
        )


class LimitReached(FailedPrecondition):
    """There are as many as there may be; waiting does not help, taking one away does."""

    reason = ErrorReason.LIMIT_REACHED

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"there are {limit} {what}, and there can be no more", limit=limit)


class Aborted(AppError):
    """Somebody else was faster; trying again may help."""

    code = grpc.StatusCode.ABORTED
    reason = ErrorReason.CONFLICT


class Unavailable(AppError):
    """Something that is needed does not answer."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = ErrorReason.UNAVAILABLE
    retry_after_s = 1.0


class DeadlineExceeded(AppError):
    """The time for the call ran out."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = ErrorReason.DEADLINE_EXCEEDED


class Internal(AppError):
    """A fault of the platform. What it was is in the log, never in the answer."""

    def __init__(self) -> None:
        super().__init__("internal error")


class RemoteError(AppError):
    """Another service's refusal, passed on as it came."""

    def __init__(
        self, code: grpc.StatusCode, reason: ErrorReason.ValueType, message: str, metadata: Mapping[str, str]
    ) -> None:
        super().__init__(message)
        self.metadata = dict(metadata)
        self.code = code
        self.reason = reason
