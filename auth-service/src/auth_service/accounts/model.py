"""Errors of signing in."""

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound


class NotSignedUp(NotFound):
    """The Firebase user has no account here."""

    reason = ErrorReason.USER_NOT_FOUND

    def __init__(self) -> None:
        super().__init__("this Firebase user has not signed up here; sign up with this Firebase token")
