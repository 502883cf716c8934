"""Rules about members."""

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import FailedPrecondition, PermissionDenied


class LastOwner(FailedPrecondition):
    """An organization must have an owner."""

    reason = ErrorReason.LAST_OWNER

    def __init__(self) -> None:
        super().__init__("an organization must have at least one owner; make another member an owner first")


class OwnerRequired(PermissionDenied):
    """Only the owner, signed in without an API key, can transfer an organization or leave the role of owner."""

    reason = ErrorReason.OWNER_REQUIRED

    def __init__(self) -> None:
        super().__init__("only the organization's owner, signed in without an API key, can transfer or give it up")
