"""People and organizations."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import AlreadyExists, NotFound, Unauthenticated


class EmailTaken(AlreadyExists):
    """Somebody signed up with that e-mail before."""

    reason = ErrorReason.EMAIL_TAKEN

    def __init__(self) -> None:
        super().__init__("somebody has signed up with this e-mail; sign in, or use another one")


class CredentialsInvalid(Unauthenticated):
    """Unknown e-mail or wrong password; which of them is not said."""

    reason = ErrorReason.CREDENTIALS_INVALID

    def __init__(self) -> None:
        super().__init__("the e-mail or the password is wrong")


class UserNotFound(NotFound):
    """No person with that id."""

    reason = ErrorReason.USER_NOT_FOUND

    def __init__(self, user_id: UUID) -> None:
        super().__init__("there is no such person", userId=user_id)


@dataclass(frozen=True, slots=True)
class User:
    """A person."""

    id: UUID
    email: str
    name: str


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


def normalized_email(email: str) -> str:
    """The form under which an e-mail is unique."""
    return email.strip().lower()
