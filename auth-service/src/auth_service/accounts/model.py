"""People and organizations."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import AlreadyExists, InvalidArgument, NotFound, Unauthenticated, Violation


class EmailTaken(AlreadyExists):
    """Somebody signed up with that e-mail before."""

    reason = ErrorReason.EMAIL_TAKEN

    def __init__(self) -> None:
        super().__init__("somebody has signed up with this e-mail; sign in, set a new password, or use another e-mail")


class CredentialsInvalid(Unauthenticated):
    """Unknown e-mail or wrong password, and which of them is not said; or a token that proves nothing."""

    reason = ErrorReason.CREDENTIALS_INVALID

    def __init__(self, message: str = "the e-mail or the password is wrong") -> None:
        super().__init__(message)


class PasswordWeak(InvalidArgument):
    """Too easy to guess."""

    reason = ErrorReason.PASSWORD_WEAK

    def __init__(self, field: str, advice: str) -> None:
        super().__init__(f"the password is too easy to guess. {advice}", violations=[Violation(field, advice)])


class SignInNotAvailable(InvalidArgument):
    """This way of signing in is not configured."""

    reason = ErrorReason.SIGN_IN_NOT_AVAILABLE

    def __init__(self) -> None:
        super().__init__("nobody can sign in with Firebase here; use e-mail and password")


class UserNotFound(NotFound):
    """No person with that id."""

    reason = ErrorReason.USER_NOT_FOUND

    def __init__(self, user_id: UUID) -> None:
        super().__init__("there is no such person", userId=user_id)


class NotSignedUp(NotFound):
    """Firebase knows the person, and we do not."""

    reason = ErrorReason.USER_NOT_FOUND

    def __init__(self) -> None:
        super().__init__("nobody has signed up as this Firebase user; sign up with this Firebase token")


@dataclass(frozen=True, slots=True)
class User:
    """A person."""

    id: UUID
    email: str
    name: str
    email_verified: bool = False


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant; `kind` is ADVERTISER, PUBLISHER or PLATFORM."""

    id: UUID
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's place in an organization; `permissions` are codes, ascending."""

    organization: Organization
    role: str
    permissions: Sequence[int]


@dataclass(frozen=True, slots=True)
class FirebaseUser:
    """Whom a Firebase ID token speaks for; `email` is normalised, and empty where Firebase knows none."""

    uid: str
    email: str
    email_verified: bool


def normalized_email(email: str) -> str:
    """The form under which an e-mail is unique."""
    return unicodedata.normalize("NFKC", email).strip().lower()
