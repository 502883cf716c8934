"""Firebase users."""

from dataclasses import dataclass

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import InvalidArgument


class SignInNotAvailable(InvalidArgument):
    """Firebase sign-in is not configured."""

    reason = ErrorReason.SIGN_IN_NOT_AVAILABLE

    def __init__(self) -> None:
        super().__init__("signing in with Firebase is not enabled here; use e-mail and password")


@dataclass(frozen=True, slots=True)
class FirebaseUser:
    """The subject of a Firebase ID token; `email` is normalized, and empty if Firebase has none."""

    uid: str
    email: str
    email_verified: bool
